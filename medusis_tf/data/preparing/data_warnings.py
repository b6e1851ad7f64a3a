"""Warnings about prepared data as a whole, each with the setting that solves the problem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np

from medusis_tf.config.data import DataConfig
from medusis_tf.config.subject import Stream
from medusis_tf.data.preparing.body_fit import is_cropped
from medusis_tf.data.shards.manifest import BodyRecord, SubjectRecord

# Bodies in images and in label maps whose areas differ by more than this factor are reported.
MAX_AREA_RATIO = 1.5
# The same for native pixels of label maps and images.
MAX_PIXEL_RATIO = 1.2
_ROUND_MM = 10
# Most networks need sides that are divisible by 32 or less.
_ROUND_PIXELS = 32
_MM2_PER_CM2 = 100


def data_warnings(
    records: Sequence[SubjectRecord], data: DataConfig, mask_weight: float | None = None
) -> tuple[str, ...]:
    """Warn of cropped bodies, and of images and label maps that differ in pixels or size.

    Args:
        records: All subjects. Subjects that an earlier version converted are not measured.
        data: Configuration of the data.
        mask_weight: Weight of the mask loss; None if unknown. With 0, sizes may differ.

    Returns:
        One sentence for each problem.
    """
    sizes = () if mask_weight == 0 else _size_warning(records, data)
    return (*_cropping_warning(records, data), *_pixel_warning(records, data), *sizes)


def _cropping_warning(records: Sequence[SubjectRecord], data: DataConfig) -> tuple[str, ...]:
    cropped = [
        (entry, entry.body)
        for entry in records
        if entry.body is not None and is_cropped(entry.body.outside, "label_map" in entry.kinds)
    ]
    if not cropped:
        return ()
    worst = max(body.outside for _, body in cropped)
    return (
        f"the slices crop the body of {len(cropped)} of {len(records)} subjects, by up to "
        f"{100 * worst:.2g}%. {_wide_enough(cropped, data)}",
    )


def _wide_enough(cropped: Sequence[tuple[SubjectRecord, BodyRecord]], data: DataConfig) -> str:
    """The setting with which the slices hold the bodies of all these subjects."""
    needed_mm = np.array([body.needed_mm for _, body in cropped])
    if data.field_of_view_mm is None:
        needed = needed_mm / [entry.grid(data).pixel_mm for entry, _ in cropped]
        steps = np.ceil(needed.max(axis=0).round(6) / _ROUND_PIXELS).astype(int)
        size = np.maximum(steps * _ROUND_PIXELS, data.image_size)
        return f"data.image_size=[{size[0]}, {size[1]}] holds all bodies"
    height, width = data.field_of_view_mm
    bodies = [body.body_mm for _, body in cropped]
    fit = data.centre == "volume" and all(
        size is not None and size[0] <= height and size[1] <= width for size in bodies
    )
    centre = "data.centre=foreground holds all bodies with the same pixels; or " if fit else ""
    # Both sides grow by one factor: pixels keep their shape.
    factor = float((needed_mm / data.field_of_view_mm).max())
    new_height = _ROUND_MM * float(np.ceil(round(factor * height / _ROUND_MM, 6)))
    new_width = new_height * width / height
    pixel_mm, rows = height / data.image_size[0], data.image_size[0]
    return (
        f"{centre}data.field_of_view_mm=[{new_height:g}, {new_width:g}] holds all bodies, with "
        f"pixels of {new_height / rows:.3g} instead of {pixel_mm:.3g} mm unless you raise "
        "data.image_size too"
    )


def _pixel_warning(records: Sequence[SubjectRecord], data: DataConfig) -> tuple[str, ...]:
    """Warn if native pixels of the training differ between label maps and images."""
    if data.field_of_view_mm is not None:
        return ()
    found = {}
    for stream in get_args(Stream):
        training = [e for e in records if e.split == "train" and stream in e.streams]
        if not training:
            return ()
        found[stream] = np.median([entry.grid(data).pixel_mm for entry in training], axis=0)
    label_map, image = found["label_map"], found["image"]
    ratio = float(np.maximum(label_map / image, image / label_map).max())
    if ratio <= MAX_PIXEL_RATIO:
        return ()
    ours, theirs = (f"{size[0]:.3g} x {size[1]:.3g} mm" for size in (label_map, image))
    fine = np.minimum(label_map, image) * data.image_size
    return (
        f"data.field_of_view_mm is null, and the training label maps have pixels of {ours}, the "
        f"images of {theirs}: the same anatomy is {ratio:.2g} times as large in one as in the "
        "other. Set data.field_of_view_mm, which gives all slices the same pixels, for example "
        f"[{fine[0]:.0f}, {fine[1]:.0f}]",
    )


def _size_warning(records: Sequence[SubjectRecord], data: DataConfig) -> tuple[str, ...]:
    label_map, image = (_median_area_mm2(records, stream) for stream in ("label_map", "image"))
    if label_map is None or image is None:
        return ()
    ratio = image / label_map
    if max(ratio, 1 / ratio) <= MAX_AREA_RATIO:
        return ()
    areas = {"images": image, "label maps": label_map}
    large, small = sorted(areas, key=lambda name: -areas[name])
    return (
        f"the bodies in the training {large} are {max(ratio, 1 / ratio):.2g} times as large as "
        f"in the {small}: the median area in a slice is {areas[large] / _MM2_PER_CM2:.0f} and "
        f"{areas[small] / _MM2_PER_CM2:.0f} cm2. Losses that compare outlines, such as the mask "
        "loss, then ask for the wrong outline. " + _same_size(ratio, data),
    )


def _same_size(ratio: float, data: DataConfig) -> str:
    images = [entry for entry in data.subjects if entry.image is not None]
    without_mask_loss = "set loss_weights.mask=0"
    if ratio < 1:
        return f"Check the voxel sizes of both, or {without_mask_loss}"
    if all(entry.has_label_map for entry in images):
        return (
            "Set data.remove_background=label_map, which keeps only what the label map of an "
            f"image covers, or {without_mask_loss}"
        )
    return (
        "Remove from the images what the label maps do not cover (data.remove_background=label_map "
        f"does so if every image has a label map), or {without_mask_loss}"
    )


def _median_area_mm2(records: Sequence[SubjectRecord], stream: Stream) -> float | None:
    """Median area of the bodies that the training subjects provide; None without any."""
    bodies = [e.body for e in records if e.split == "train" and stream in e.streams and e.body]
    areas = [b.label_map_mm2 if stream == "label_map" else b.image_mm2 for b in bodies]
    found = [area for area in areas if area]
    return float(np.median(found)) if found else None

"""Convert the volumes of one subject to slices."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from medusis_tf.config.data import DataConfig, Subject
from medusis_tf.config.intensity import NyulIntensity, SliceMinMaxIntensity
from medusis_tf.data.intensities.intensity import (
    IntensityScale,
    landmarks,
    scale_intensity,
    slice_scales,
    volume_scale,
)
from medusis_tf.data.labels.body import image_body, label_body_mask, remove_background
from medusis_tf.data.preparing.agreement import misplacement_warning, thinned
from medusis_tf.data.preparing.body_fit import (
    Coverage,
    coarse_body,
    cropping_warning,
    image_area_mm2,
    image_coverage,
    label_map_coverage,
    mask_area_mm2,
)
from medusis_tf.data.preparing.subjects import (
    header_grids,
    load_image,
    load_label_map,
    matched,
    overlap,
    source_grids,
)
from medusis_tf.data.shards.manifest import (
    BodyRecord,
    FileRecord,
    Histogram,
    Kind,
    SourceRecord,
    SubjectRecord,
    histogram,
)
from medusis_tf.data.shards.slice_files import IMAGE_LEVELS
from medusis_tf.data.slicing.foreground import choose_slices, relative_positions
from medusis_tf.data.slicing.slices import SliceGrid
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.volume import Volume

Standard = tuple[float, ...] | None


@dataclass(frozen=True, eq=False)
class ConvertedSubject:
    """A subject as slices.

    Attributes:
        record: Entry of the manifest, without the position of the slices in their files.
        slices: Kind to `[kept slices, ...]`, stored as `slice_files` describes.
    """

    record: SubjectRecord
    slices: dict[Kind, np.ndarray]


@dataclass(eq=False)
class _Slices:
    """All slices of a subject, filled in while its volumes are read."""

    grid: SliceGrid
    label_map: np.ndarray | None = None
    image: np.ndarray | None = None
    scales: tuple[IntensityScale, ...] | None = None
    histogram: Histogram | None = None
    coverage: Coverage | None = None
    warnings: tuple[str, ...] = ()


def convert_subject(
    subject: Subject,
    data: DataConfig,
    sources: dict[str, FileRecord],
    content: str,
    standard: Standard = None,
) -> ConvertedSubject:
    """Read, check and slice the volumes of a subject.

    Args:
        subject: Entry of the configuration.
        data: Configuration of the data.
        sources: Source files, for the record.
        content: Hash of everything that determines the slices, for the record.
        standard: Landmarks of the training images, for `intensity: {name: nyul}`.

    Raises:
        UserError: A volume cannot be used.
    """
    headers = header_grids(subject, data)
    found = _read(subject, data, matched(headers, data), standard)
    kept = choose_slices(found.label_map, found.image, data.minimum_foreground, data.skip_ends)
    slices, body = _stored(found, kept)
    record = _record(
        subject,
        data,
        found,
        kept,
        content=content,
        kinds=tuple(slices),
        sources={role: _source_record(sources[role], headers[role]) for role in sources},
        body=body,
    )
    return ConvertedSubject(record, slices)


def image_landmarks(
    subject: Subject, data: DataConfig, intensity: NyulIntensity
) -> tuple[float, ...]:
    """Measure the landmarks of the histogram of a subject's image.

    Raises:
        UserError: The image cannot be used.
    """
    _, crop = overlap(source_grids(subject, data))
    return landmarks(crop.of(load_image(subject, data)), intensity)


def _read(
    subject: Subject, data: DataConfig, grids: dict[str, Grid], standard: Standard
) -> _Slices:
    """Slice the volumes of a subject, one at a time: a worker has no memory for two."""
    label_crop, image_crop = overlap(grids)
    reference = next(grids[role] for role in ("label_map", "ct", "image") if role in grids)
    found, thin = _Slices(SliceGrid.of(label_crop.of_grid(reference), data)), None
    if subject.has_label_map:
        volume = load_label_map(subject, data)
        thin = thinned(volume, label_crop)
        _slice_label_map(label_crop.of(volume), data, found)
        del volume
    if subject.image is not None:
        volume = load_image(subject, data)
        if thin is not None:
            shift = image_crop.start[2] - label_crop.start[2]
            slice_mm = volume.spacing_mm[2]
            found.warnings += misplacement_warning(
                thin, thinned(volume, image_crop), shift, slice_mm
            )
        _slice_image(image_crop.of(volume), data, standard, found)
    return found


def _slice_label_map(volume: Volume, data: DataConfig, found: _Slices) -> None:
    found.warnings += _warnings_of("label map", volume)
    if not volume.array.any():
        found.warnings += ("label map: it has no foreground, only background",)
    if data.centre == "foreground":
        found.grid = found.grid.centred_on(found.grid.upright(volume.array))
    found.label_map = found.grid.label_slices(volume.array)
    found.coverage = label_map_coverage(volume.array, found.grid)
    found.warnings += cropping_warning(found.coverage, found.grid, is_label_map=True)


def _slice_image(volume: Volume, data: DataConfig, standard: Standard, found: _Slices) -> None:
    scale, scales = scaling(volume, data, standard)
    if data.centre == "foreground" and found.label_map is None:
        found.grid = found.grid.centred_on(*coarse_body(volume, found.grid, scale))
        scale, scales = scaling(volume, data, standard)  # `scales` lists those of the slices below
    slices = found.grid.image_slices(volume, scale)
    found.scales = tuple(scales)  # complete now, and a copy: `scale` is used again below
    if data.remove_background == "image_body":
        slices = remove_background(slices, image_body(slices))
    elif data.remove_background == "label_map":
        slices = remove_background(slices, _label_foreground(found))
    found.image = slices
    found.histogram = histogram(volume)
    found.warnings += _warnings_of("image", volume)
    if found.coverage is None:
        found.coverage = image_coverage(volume, found.grid, scale)
        found.warnings += cropping_warning(found.coverage, found.grid, is_label_map=False)


def scaling(
    volume: Volume, data: DataConfig, standard: Standard
) -> tuple[Callable[[np.ndarray], np.ndarray], list[IntensityScale]]:
    """A function that scales slices to [-1, 1], and the scales that it has used."""
    if not isinstance(data.intensity, SliceMinMaxIntensity):
        scale = volume_scale(volume, data.intensity, standard)
        return (lambda values: scale_intensity(values, scale)), [scale]
    scales: list[IntensityScale] = []

    def scale_each_slice(values: np.ndarray) -> np.ndarray:
        new = slice_scales(values)
        scales.extend(new)
        return np.stack([scale_intensity(v, s) for v, s in zip(values, new, strict=True)])

    return scale_each_slice, scales


def _label_foreground(found: _Slices) -> np.ndarray:
    if found.label_map is None:
        raise ValueError("remove_background label_map needs a label map")
    return found.label_map != 0


def _warnings_of(what: str, volume: Volume) -> tuple[str, ...]:
    return tuple(f"{what}: {text[:1].lower()}{text[1:]}" for text in volume.warnings)


def _stored(found: _Slices, kept: np.ndarray) -> tuple[dict[Kind, np.ndarray], BodyRecord | None]:
    """The kept slices as they are stored, and the body that they show."""
    slices: dict[Kind, np.ndarray] = {}
    label_map_mm2 = image_mm2 = None
    if found.label_map is not None:
        label_map = found.label_map[kept]
        mask = label_body_mask(label_map)
        label_map_mm2 = mask_area_mm2(mask, found.grid.pixel_mm)
        slices["label_map"] = label_map
        pixels = mask.reshape(len(kept), math.prod(mask.shape[1:]))
        slices["body_mask"] = np.packbits(pixels, axis=1)
    if found.image is not None:
        image_mm2 = image_area_mm2(found.image[kept], found.grid.pixel_mm)
        levels = np.rint((found.image[kept] + 1) * (IMAGE_LEVELS / 2))
        slices["image"] = levels.astype("<u2")
    if found.coverage is None:
        return slices, None
    height, width = found.coverage.needed_mm
    body = BodyRecord(
        outside=round(found.coverage.outside, 6),
        needed_mm=(round(height, 3), round(width, 3)),
        label_map_mm2=label_map_mm2,
        image_mm2=image_mm2,
        body_mm=(round(found.coverage.body_mm[0], 3), round(found.coverage.body_mm[1], 3)),
    )
    return slices, body


def _record(
    subject: Subject, data: DataConfig, found: _Slices, kept: np.ndarray, **other: Any
) -> SubjectRecord:
    scales = found.scales
    if scales is not None and len(scales) > 1:
        scales = tuple(scales[index] for index in kept)
    positions = relative_positions(found.label_map, found.image)
    return SubjectRecord(
        subject=subject.subject,
        patient=subject.patient_name,
        split=subject.split,
        streams=subject.used_streams,
        first_record={},
        volume_shape=found.grid.volume_shape,
        volume_spacing_mm=found.grid.volume_spacing_mm,
        depth=found.grid.num_slices,
        slice_indices=tuple(kept.tolist()),
        positions=tuple(positions[kept].round(6).tolist()),
        class_pixels=_class_pixels(found.label_map, kept, data),
        intensity=scales,
        histogram=found.histogram,
        warnings=found.warnings,
        offset=found.grid.offset,
        ct_checked=subject.ct is not None,
        **other,
    )


def _class_pixels(
    label_map: np.ndarray | None, kept: np.ndarray, data: DataConfig
) -> tuple[int, ...] | None:
    if label_map is None:
        return None
    counts = sum(
        (np.bincount(label_map[index].ravel(), minlength=data.num_classes) for index in kept),
        start=np.zeros(data.num_classes, np.int64),
    )
    return tuple(counts.tolist())


def _source_record(file: FileRecord, grid: Grid) -> SourceRecord:
    return SourceRecord(
        **file.model_dump(), axes=grid.axes, shape=grid.shape, spacing_mm=grid.spacing_mm
    )

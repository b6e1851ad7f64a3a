"""Convert the volumes of one subject to slices, and write them as records."""

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

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
from medusis_tf.data.preparing.subjects import (
    load_image,
    load_label_map,
    overlap,
    source_grids,
)
from medusis_tf.data.shards.manifest import (
    FileRecord,
    Histogram,
    Kind,
    SourceRecord,
    SubjectRecord,
    histogram,
)
from medusis_tf.data.shards.records import write_records
from medusis_tf.data.shards.shards import IMAGE_LEVELS
from medusis_tf.data.slicing.slices import SliceGrid, choose_slices, relative_positions
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.volume import Volume

RECORD_FILE = "record.json"

Standard = tuple[float, ...] | None


@dataclass(frozen=True, eq=False)
class ConvertedSubject:
    """A subject as slices.

    Attributes:
        record: What the manifest will say of it, but for the place of its records.
        slices: By kind, `[kept slices, record bytes]` uint8.
    """

    record: SubjectRecord
    slices: dict[Kind, np.ndarray]


@dataclass(eq=False)
class _Slices:
    """All slices of a subject, filled in as its volumes are read."""

    grid: SliceGrid
    label_map: np.ndarray | None = None
    image: np.ndarray | None = None
    scales: tuple[IntensityScale, ...] | None = None
    histogram: Histogram | None = None
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
        subject: As configured.
        data: The configuration of the data.
        sources: Its files, for the record.
        content: Hash of everything the slices depend on, for the record.
        standard: Of the training images, for `intensity: {name: nyul}`.

    Raises:
        UserError: A volume cannot be used.
    """
    grids = source_grids(subject, data)
    found = _read(subject, data, grids, standard)
    grid = found.grid
    kept = choose_slices(found.label_map, found.image, data.minimum_foreground, data.skip_ends)
    positions = relative_positions(found.label_map, found.image)
    scales = found.scales
    if scales is not None and len(scales) > 1:
        scales = tuple(scales[index] for index in kept)
    slices = _as_records(found, kept)
    record = SubjectRecord(
        subject=subject.subject,
        patient=subject.patient_name,
        split=subject.split,
        streams=subject.used_streams,
        content=content,
        kinds=tuple(slices),
        first_record={},
        volume_shape=grid.volume_shape,
        volume_spacing_mm=grid.volume_spacing_mm,
        depth=grid.num_slices,
        slice_indices=tuple(kept.tolist()),
        positions=tuple(positions[kept].round(6).tolist()),
        class_pixels=_class_pixels(found.label_map, kept, data),
        intensity=scales,
        histogram=found.histogram,
        sources={role: _source_record(sources[role], grids[role]) for role in sources},
        warnings=found.warnings,
    )
    return ConvertedSubject(record, slices)


def image_landmarks(
    subject: Subject, data: DataConfig, intensity: NyulIntensity
) -> tuple[float, ...]:
    """Landmarks of the histogram of a subject's image.

    Raises:
        UserError: The image cannot be used.
    """
    _, crop = overlap(source_grids(subject, data), data)
    return landmarks(crop.of(load_image(subject, data)), intensity)


def write_converted(converted: ConvertedSubject, folder: Path) -> None:
    """Write the records of a subject into a folder of its own, which appears whole or not at all.

    Raises:
        OSError: The disk refuses.
    """
    partial = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for kind, slices in converted.slices.items():
        write_records(partial / f"{kind}.tfrecord", (pixels.tobytes() for pixels in slices))
    text = converted.record.model_dump_json()
    (partial / RECORD_FILE).write_text(text, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def read_converted(folder: Path) -> SubjectRecord:
    """The record of a subject that `write_converted` wrote.

    Raises:
        OSError: It is not there.
        ValueError: It is not such a record.
    """
    return SubjectRecord.model_validate(json.loads((folder / RECORD_FILE).read_text("utf-8")))


def _read(
    subject: Subject, data: DataConfig, grids: dict[str, Grid], standard: Standard
) -> _Slices:
    """Slice the volumes of a subject, one at a time: two would not fit a worker's memory."""
    label_crop, image_crop = overlap(grids, data)
    reference = next(grids[role] for role in ("label_map", "ct", "image") if role in grids)
    found, thin = _Slices(SliceGrid.of(label_crop.of_grid(reference), data)), None
    if subject.has_label_map:
        volume = load_label_map(subject, data)
        thin = thinned(volume, label_crop)
        _slice_label_map(label_crop.of(volume), found)
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


def _slice_label_map(volume: Volume, found: _Slices) -> None:
    found.label_map = found.grid.label_slices(volume.array)
    found.warnings += _warnings_of("label map", volume)


def _slice_image(volume: Volume, data: DataConfig, standard: Standard, found: _Slices) -> None:
    scales: list[IntensityScale] = []

    def scale_each_slice(values: np.ndarray) -> np.ndarray:
        new = slice_scales(values)
        scales.extend(new)
        return np.stack([scale_intensity(v, s) for v, s in zip(values, new, strict=True)])

    def scale_alike(values: np.ndarray) -> np.ndarray:
        return scale_intensity(values, scales[0])

    by_slice = isinstance(data.intensity, SliceMinMaxIntensity)
    if not by_slice:
        scales.append(volume_scale(volume, data.intensity, standard))
    slices = found.grid.image_slices(volume, scale_each_slice if by_slice else scale_alike)
    if data.remove_background == "image_body":
        slices = remove_background(slices, image_body(slices))
    elif data.remove_background == "label_map":
        slices = remove_background(slices, _label_foreground(found))
    found.image = slices
    found.scales = tuple(scales)
    found.histogram = histogram(volume)
    found.warnings += _warnings_of("image", volume)


def _label_foreground(found: _Slices) -> np.ndarray:
    if found.label_map is None:
        raise ValueError("remove_background label_map needs a label map")
    return found.label_map != 0


def _warnings_of(what: str, volume: Volume) -> tuple[str, ...]:
    return tuple(f"{what}: {text[:1].lower()}{text[1:]}" for text in volume.warnings)


def _as_records(found: _Slices, kept: np.ndarray) -> dict[Kind, np.ndarray]:
    """The kept slices as bytes, `[kept, record bytes]` for each kind."""
    records: dict[Kind, np.ndarray] = {}
    if found.label_map is not None:
        label_map = found.label_map[kept]
        mask = label_body_mask(label_map).reshape(len(kept), math.prod(label_map.shape[1:]))
        records["label_map"] = label_map
        records["body_mask"] = np.packbits(mask, axis=1)
    if found.image is not None:
        levels = np.rint((found.image[kept] + 1) * (IMAGE_LEVELS / 2)).astype("<u2")
        records["image"] = levels
    return {
        kind: slices.reshape(len(kept), math.prod(slices.shape[1:])).view(np.uint8)
        for kind, slices in records.items()
    }


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

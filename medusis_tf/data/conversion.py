"""Convert the volumes of one subject to shards of slices."""

import hashlib
from pathlib import Path

import numpy as np

from medusis_tf.config.data import DataConfig, Stream, Subject
from medusis_tf.data.intensity import IntensityRange, intensity_range, scale_intensity
from medusis_tf.data.manifest import FileRecord, SubjectRecord
from medusis_tf.data.slices import SliceGrid, choose_slices
from medusis_tf.data.subjects import load_subject

IMAGE_LEVELS = 65535


def convert_subject(
    subject: Subject, data: DataConfig, sources: dict[str, FileRecord], folder: Path
) -> SubjectRecord:
    """Slice the volumes of one subject and write its shards.

    Args:
        subject: As configured.
        data: The configuration of the data.
        sources: Its files, for the record.
        folder: Where to write.

    Raises:
        UserError: A volume cannot be used.
    """
    volumes = load_subject(subject, data)
    label_map = image = None
    scale: IntensityRange | None = None
    if volumes.label_map is not None:
        grid = SliceGrid.of(volumes.label_map, data)
        label_map = grid.label_slices(volumes.label_map.array)
    if volumes.image is not None:
        grid = SliceGrid.of(volumes.image, data)
        scale = intensity_range(volumes.image, data.intensity)
        image = grid.image_slices(scale_intensity(volumes.image.array, scale))
    kept = choose_slices(label_map, image, data.minimum_foreground)
    shards: dict[Stream, FileRecord] = {}
    class_pixels = None
    if label_map is not None:
        counts = np.bincount(label_map[kept].ravel(), minlength=data.num_classes)
        class_pixels = tuple(counts.tolist())
        shards["label_map"] = _write_shard(folder, subject.subject, "label_map", label_map[kept])
    if image is not None:
        levels = np.rint((image[kept] + 1) * (IMAGE_LEVELS / 2)).astype("<u2")
        shards["image"] = _write_shard(folder, subject.subject, "image", levels)
    return SubjectRecord(
        subject=subject.subject,
        split=subject.split,
        streams=subject.used_streams,
        volume_shape=grid.volume_shape,
        volume_spacing_mm=grid.volume_spacing_mm,
        slice_indices=tuple(kept.tolist()),
        class_pixels=class_pixels,
        intensity=scale,
        sources=sources,
        shards=shards,
    )


def _write_shard(folder: Path, subject: str, stream: Stream, slices: np.ndarray) -> FileRecord:
    import tensorflow as tf

    path = folder / f"{subject}.{stream}.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for pixels in slices:
            writer.write(pixels.tobytes())
    return record_file(path, path.relative_to(folder))


def record_file(path: Path, name: Path) -> FileRecord:
    """Checksum and size of a file that is recorded under `name`."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(path=name, sha256=digest, bytes=path.stat().st_size)

"""What a folder of shards says about itself: `manifest.json`."""

from pathlib import Path
from typing import Literal

import numpy as np

from medusis_tf.config.data import Axis, Split, Stream
from medusis_tf.config.section import Section
from medusis_tf.data.intensities.intensity import IntensityScale
from medusis_tf.data.intensities.order_statistics import pieces
from medusis_tf.data.volumes.volume import Volume

FORMAT_VERSION = 2
FILE_NAME = "manifest.json"

Kind = Literal["label_map", "image", "body_mask"]


class FileRecord(Section):
    """A file, and what it held when it was read or written.

    `path` of a source is relative to `data.root`, that of a shard to the folder of the shards.
    `sha256` of a folder (a DICOM series, one-class masks) is that of its files' checksums.
    """

    path: Path
    sha256: str
    bytes: int


class SourceRecord(FileRecord):
    """A source file, and how its voxels lay. `axes` are the stored ones, such as `RAS`."""

    axes: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]


class Histogram(Section):
    """Voxel counts of equal bins between the volume's least and greatest intensity."""

    lower: float
    upper: float
    counts: tuple[int, ...]


class SubjectRecord(Section):
    """One converted subject.

    `kinds` may hold an image although `streams` does not name it: it is there to be measured
    against, not to be trained on. `slice_indices` count the slices of the source volume along the
    slicing axis (cropped to the overlap if there are two volumes), 0 the lowest, the rightmost or
    the foremost; `depth` is how many the volume has. The subject's records are `first_record`,
    `first_record + 1`, ... in the file of each of its kinds. `positions` say where each slice lies
    in the body, from 0 (first slice with foreground) to 1 (last). `volume_shape` and
    `volume_spacing_mm` are in LPS order. `intensity` is one scale for the volume, or one for each
    kept slice.
    """

    subject: str
    patient: str
    split: Split
    streams: tuple[Stream, ...]
    content: str  # hash of everything the subject's slices depend on
    kinds: tuple[Kind, ...]
    first_record: dict[Kind, int]
    volume_shape: tuple[int, int, int]
    volume_spacing_mm: tuple[float, float, float]
    depth: int
    slice_indices: tuple[int, ...]
    positions: tuple[float, ...]
    class_pixels: tuple[int, ...] | None
    intensity: tuple[IntensityScale, ...] | None
    histogram: Histogram | None
    sources: dict[str, SourceRecord]
    warnings: tuple[str, ...]

    @property
    def num_slices(self) -> int:
        """Number of slices kept, of either kind."""
        return len(self.slice_indices)


class ClassRecord(Section):
    """One class; its colour is left to the configuration."""

    id: int
    name: str


class Manifest(Section):
    """All shards of a folder: one file of records for each kind."""

    format_version: int = FORMAT_VERSION
    classes: tuple[ClassRecord, ...]
    axis: Axis
    image_size: tuple[int, int]
    field_of_view_mm: tuple[float, float] | None
    files: dict[Kind, FileRecord]
    subjects: tuple[SubjectRecord, ...]


_BINS = 128
# Integers that span more values than this are sorted into bins one by one, as floats are.
_MOST_VALUES = 2**16


def histogram(volume: Volume) -> Histogram:
    """Count the voxels of an image in equal bins between its least and greatest intensity.

    In pieces, so that no second volume is held.
    """
    array = volume.array
    ends = (float(array.min()), float(array.max()))
    if array.dtype.kind in "iu" and ends[1] - ends[0] < _MOST_VALUES:
        counts = _of_integers(array)
    else:
        counts = np.zeros(_BINS, np.int64)
        for index in range(volume.shape[2]):
            counts += np.histogram(array[:, :, index], _BINS, range=ends)[0]
    if volume.slope < 0:
        counts = counts[::-1]
    lower, upper = sorted(end * volume.slope + volume.intercept for end in ends)
    return Histogram(lower=lower, upper=upper, counts=tuple(counts.tolist()))


def _of_integers(array: np.ndarray) -> np.ndarray:
    """The same counts: each value is counted first, five times as fast, then sorted into bins."""
    least, greatest = int(array.min()), int(array.max())
    counts = np.zeros(greatest - least + 1, np.int64)
    for piece in pieces(array, np.int64):
        counts += np.bincount(piece - least, minlength=len(counts))
    values = np.arange(least, greatest + 1)
    return np.histogram(values, _BINS, range=(least, greatest), weights=counts)[0]

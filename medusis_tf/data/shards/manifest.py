"""The description of a folder of prepared slices: `manifest.json`."""

from pathlib import Path
from typing import Literal

import numpy as np

from medusis_tf.config.data import Axis, DataConfig
from medusis_tf.config.section import Section
from medusis_tf.config.subject import Split, Stream
from medusis_tf.data.intensities.intensity import IntensityScale
from medusis_tf.data.intensities.order_statistics import chunks
from medusis_tf.data.slicing.slices import SliceGrid
from medusis_tf.data.volumes.volume import Volume

FORMAT_VERSION = 2
FILE_NAME = "manifest.json"

Kind = Literal["label_map", "image", "body_mask"]


class FileRecord(Section):
    """A file and its content at the time it was read or written.

    `path` of a source is relative to `data.root`, `path` of a file of slices to its folder.
    `sha256` of a folder (a DICOM series, one-class masks) combines the checksums of its files.
    """

    path: Path
    sha256: str
    bytes: int


class SourceRecord(FileRecord):
    """A source file and its voxel grid. `axes` is the stored axis order, such as `RAS`."""

    axes: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]


class Histogram(Section):
    """Voxel counts of equal bins between the lowest and the highest intensity of a volume."""

    lower: float
    upper: float
    counts: tuple[int, ...]


class BodyRecord(Section):
    """The body of a subject, compared with the grid of the slices.

    `outside` is the fraction of the body that lies outside the grid, in the label map or, without
    one, in the image. `needed_mm` is the height and width that a slice must cover to hold all of
    the body. `label_map_mm2` and `image_mm2` are the median areas of the body in the kept slices,
    with holes filled. `body_mm` is the height and width of the body itself.
    """

    outside: float
    needed_mm: tuple[float, float]
    label_map_mm2: float | None = None
    image_mm2: float | None = None
    body_mm: tuple[float, float] | None = None


class SubjectRecord(Section):
    """One converted subject.

    `kinds` may contain an image that `streams` does not: an image for evaluation only.
    `slice_indices` counts the slices of the source volume along the slicing axis (cropped to the
    overlap of two volumes), starting at the lowest, rightmost or foremost; `depth` is the number
    of slices of that volume. The slices of the subject start at `first_record` in the file of each
    kind. `positions` is the location of each slice in the body, from 0 (first slice with
    foreground) to 1 (last). `volume_shape` and `volume_spacing_mm` are in LPS order. `intensity`
    is one scale for the volume, or one for each kept slice. `body` is None if an earlier version
    converted the subject. `offset` is the centre of the slices, as in `SliceGrid`. `ct_checked`
    says that the CT of a subject was checked, which earlier versions did not.
    """

    subject: str
    patient: str
    split: Split
    streams: tuple[Stream, ...]
    content: str  # hash of everything that determines the slices
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
    body: BodyRecord | None = None
    offset: tuple[float, float] = (0.0, 0.0)
    ct_checked: bool = False

    @property
    def needs_check(self) -> bool:
        """Whether the subject has a CT that an earlier version did not check."""
        return "ct" in self.sources and not self.ct_checked

    @property
    def num_slices(self) -> int:
        """Number of kept slices of each kind."""
        return len(self.slice_indices)

    def grid(self, data: DataConfig) -> SliceGrid:
        """The pixel grid of the slices, which were prepared with the configuration `data`."""
        return SliceGrid(
            data.image_size,
            data.pixel_spacing_mm,
            self.volume_shape,
            self.volume_spacing_mm,
            data.axis,
            self.offset,
        )


class ClassRecord(Section):
    """One class. Its colour is a matter of the configuration."""

    id: int
    name: str


class Manifest(Section):
    """All prepared slices of a folder: one file for each kind."""

    format_version: int = FORMAT_VERSION
    classes: tuple[ClassRecord, ...]
    axis: Axis
    image_size: tuple[int, int]
    field_of_view_mm: tuple[float, float] | None
    files: dict[Kind, FileRecord]
    subjects: tuple[SubjectRecord, ...]


_BINS = 128
# Integers with a wider range than this are sorted into bins one by one, like floats.
_MAX_VALUES = 2**16


def histogram(volume: Volume) -> Histogram:
    """Count the voxels of an image in equal bins between its lowest and highest intensity.

    The volume is counted in pieces, so that it is not copied.
    """
    array = volume.array
    ends = (float(array.min()), float(array.max()))
    if array.dtype.kind in "iu" and ends[1] - ends[0] < _MAX_VALUES:
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
    """The same counts, five times as fast: each value is counted, then sorted into bins."""
    lowest, highest = int(array.min()), int(array.max())
    counts = np.zeros(highest - lowest + 1, np.int64)
    for chunk in chunks(array, np.int64):
        counts += np.bincount(chunk - lowest, minlength=len(counts))
    values = np.arange(lowest, highest + 1)
    return np.histogram(values, _BINS, range=(lowest, highest), weights=counts)[0]

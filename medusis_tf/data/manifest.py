"""What a folder of shards says about itself: `manifest.json`."""

from pathlib import Path

from medusis_tf.config.data import Split, Stream
from medusis_tf.config.section import Section
from medusis_tf.data.intensity import IntensityRange

FORMAT_VERSION = 1
FILE_NAME = "manifest.json"


class FileRecord(Section):
    """A file, and what it held when it was read or written.

    `path` of a source is relative to `data.root`, that of a shard to the folder of the shards.
    """

    path: Path
    sha256: str
    bytes: int


class SubjectRecord(Section):
    """One converted subject.

    `shards` may hold an image although `streams` does not name it: it is there to be measured
    against, not to be trained on. `slice_indices` count the axial slices of the source volume
    (cropped to the overlap if there are two), 0 the lowest; record i of every shard is
    `slice_indices[i]`. `volume_shape` and `volume_spacing_mm` are in LPS order. `intensity` holds
    what -1 and 1 of the image stand for in the source's units.
    """

    subject: str
    split: Split
    streams: tuple[Stream, ...]
    volume_shape: tuple[int, int, int]
    volume_spacing_mm: tuple[float, float, float]
    slice_indices: tuple[int, ...]
    class_pixels: tuple[int, ...] | None
    intensity: IntensityRange | None
    sources: dict[str, FileRecord]
    shards: dict[Stream, FileRecord]

    @property
    def num_slices(self) -> int:
        """Number of slices kept, of either kind."""
        return len(self.slice_indices)


class ClassRecord(Section):
    """One class; its colour is left to the configuration."""

    id: int
    name: str


class Manifest(Section):
    """All shards of a folder."""

    format_version: int = FORMAT_VERSION
    classes: tuple[ClassRecord, ...]
    image_size: tuple[int, int]
    field_of_view_mm: tuple[float, float]
    subjects: tuple[SubjectRecord, ...]

"""Prepared slices, in files that are mapped into memory, or held in memory."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medusis_tf.config.subject import Split, Stream
from medusis_tf.data.shards.manifest import FILE_NAME, Kind, Manifest, SubjectRecord
from medusis_tf.data.shards.slice_files import IMAGE_LEVELS, SliceLayout, map_slices
from medusis_tf.data.shards.use import Use
from medusis_tf.json_files import read_json


@dataclass(frozen=True, eq=False)
class SubjectSlices:
    """The slices of one subject. Slices of several kinds are aligned with each other.

    Attributes:
        label_map: `[slices, height, width]` uint8 class ids.
        image: `[slices, height, width]` float32 in [-1, 1].
        body_mask: `[slices, height, width]` bool, the foreground of the label map, holes filled.
        slice_indices: `[slices]`, indices in the source volume, starting at 0.
    """

    label_map: np.ndarray | None
    image: np.ndarray | None
    body_mask: np.ndarray | None
    slice_indices: np.ndarray


@dataclass(frozen=True, eq=False)
class Shards:
    """Prepared slices of all subjects.

    Attributes:
        records: The manifest.
        arrays: Kind to `[slices, ...]`, stored as `slice_files` describes.
        folder: Folder of the files and of `manifest.json`; None if the arrays are only in memory.
        use: Keeps `medusis prepare --prune` from removing the folder.
    """

    records: Manifest
    arrays: Mapping[Kind, np.ndarray]
    folder: Path | None = None
    use: Use | None = None

    @classmethod
    def open(cls, folder: Path) -> Shards | None:
        """Open a folder; None if it is missing or incomplete."""
        try:
            records = Manifest.model_validate(read_json(folder / FILE_NAME))
            files = records.files.values()
            complete = all((folder / file.path).stat().st_size == file.bytes for file in files)
            if not complete:
                return None
            arrays = {
                kind: map_slices(folder / file.path, SliceLayout.of(kind, records.image_size))
                for kind, file in records.files.items()
            }
            if not all(_fits(entry, arrays) for entry in records.subjects):
                return None
        except (OSError, ValueError):  # pydantic's errors are ValueErrors
            return None
        return cls(records, arrays, folder)

    def in_use(self) -> Shards:
        """The same slices, whose folder no `medusis prepare --prune` removes meanwhile."""
        return self if self.folder is None else replace(self, use=Use(self.folder))

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as plain values, ready for JSON."""
        return self.records.model_dump(mode="json")

    @property
    def is_of_earlier_version(self) -> bool:
        """Whether an earlier version wrote the files. They can be read, but not trained on."""
        return any(file.path.suffix == ".tfrecord" for file in self.records.files.values())

    def subjects(self, split: Split, stream: Stream) -> tuple[SubjectRecord, ...]:
        """Subjects of a split that provide a stream and have slices, in the configured order."""
        return tuple(
            entry
            for entry in self.records.subjects
            if entry.split == split and stream in entry.streams and entry.num_slices > 0
        )

    def pairs(self, split: Split) -> tuple[SubjectRecord, ...]:
        """Subjects of a split with both a label map and an image, whatever their streams."""
        return tuple(
            entry
            for entry in self.records.subjects
            if entry.split == split
            and {"label_map", "image"} <= set(entry.kinds)
            and entry.num_slices > 0
        )

    def num_slices(self, split: Split, stream: Stream) -> int:
        """Number of slices of one stream."""
        return sum(entry.num_slices for entry in self.subjects(split, stream))

    def read_image(self, subject: SubjectRecord | str) -> np.ndarray:
        """Read the image of a subject: `[slices, height, width]` in [-1, 1].

        Raises:
            ValueError: The subject is unknown or has no image.
        """
        image = self.read(subject).image
        if image is None:
            raise ValueError(f"{subject} has no image among the prepared slices")
        return image

    def read(self, subject: SubjectRecord | str) -> SubjectSlices:
        """Read all slices of a subject, whatever its streams.

        Raises:
            ValueError: The subject is unknown.
        """
        name = subject if isinstance(subject, str) else subject.subject
        entry = self._by_name.get(name)
        if entry is None:
            raise ValueError(f"no subject {name} among the prepared slices")
        image, mask = self._slices(entry, "image"), self._slices(entry, "body_mask")
        if image is not None:
            image = image.astype(np.float32)
            image *= np.float32(2 / IMAGE_LEVELS)
            image -= np.float32(1)
        if mask is not None:
            height, width = self.records.image_size
            pixels = np.unpackbits(mask, axis=1, count=height * width).astype(bool)
            mask = pixels.reshape(-1, height, width)
        indices = np.array(entry.slice_indices, int)
        return SubjectSlices(self._slices(entry, "label_map"), image, mask, indices)

    @functools.cached_property
    def _by_name(self) -> dict[str, SubjectRecord]:
        return {entry.subject: entry for entry in self.records.subjects}

    def _slices(self, entry: SubjectRecord, kind: Kind) -> np.ndarray | None:
        """A copy of the stored slices of a subject."""
        if kind not in entry.kinds:
            return None
        first = entry.first_record[kind]
        return np.array(self.arrays[kind][first : first + entry.num_slices])


def _fits(entry: SubjectRecord, arrays: Mapping[Kind, np.ndarray]) -> bool:
    """Whether the files have all slices that a subject claims."""
    return all(
        0 <= entry.first_record.get(kind, -1) <= len(arrays[kind]) - entry.num_slices
        for kind in entry.kinds
        if kind in arrays
    )

"""Prepared slices, in files that are mapped into memory, or held in memory.

Each kind of slices is one array of equally long records, one per slice, subject after subject:
`label_map` uint8 class ids, `image` little-endian uint16 of which 0 and 65535 stand for -1 and 1,
and `body_mask` eight pixels to the byte, the first in the highest bit.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medusis_tf.config.data import Split, Stream
from medusis_tf.data.shards.manifest import (
    FILE_NAME,
    Kind,
    Manifest,
    SubjectRecord,
)
from medusis_tf.data.shards.records import FRAME_BYTES, map_records

IMAGE_LEVELS = 65535


@dataclass(frozen=True, eq=False)
class SubjectSlices:
    """The slices of one subject, aligned with each other where there are several kinds.

    Attributes:
        label_map: `[slices, height, width]` uint8 class ids.
        image: `[slices, height, width]` float32 in [-1, 1].
        body_mask: `[slices, height, width]` bool, the body's outline in the label map, filled.
        slice_indices: `[slices]`, of the source volume, 0 the first.
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
        arrays: Kind to `[records, record bytes]` uint8.
        folder: Holds the files and `manifest.json`; None if the arrays are in memory only.
    """

    records: Manifest
    arrays: Mapping[Kind, np.ndarray]
    folder: Path | None = None

    @classmethod
    def open(cls, folder: Path) -> Shards | None:
        """Open a folder; None if it is not there or not whole."""
        try:
            text = (folder / FILE_NAME).read_text(encoding="utf-8")
            records = Manifest.model_validate_json(text)
            files = records.files.values()
            whole = all((folder / file.path).stat().st_size == file.bytes for file in files)
            if not whole:
                return None
            arrays = {
                kind: map_records(folder / file.path, record_bytes(kind, records.image_size))
                for kind, file in records.files.items()
            }
        except (OSError, ValueError):  # pydantic's errors are ValueErrors
            return None
        return cls(records, arrays, folder)

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest as plain values, ready for JSON."""
        return self.records.model_dump(mode="json")

    def subjects(self, split: Split, stream: Stream) -> tuple[SubjectRecord, ...]:
        """Subjects of a split that feed a stream and have slices, as ordered in the config."""
        return tuple(
            entry
            for entry in self.records.subjects
            if entry.split == split and stream in entry.streams and entry.num_slices > 0
        )

    def pairs(self, split: Split) -> tuple[SubjectRecord, ...]:
        """Subjects of a split with both a label map and an image, whatever streams they feed."""
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
        """Read a subject's image: `[slices, height, width]` in [-1, 1].

        Raises:
            ValueError: There is no such subject, or it has no image.
        """
        image = self.read(subject).image
        if image is None:
            raise ValueError(f"{subject} has no image among the prepared slices")
        return image

    def read(self, subject: SubjectRecord | str) -> SubjectSlices:
        """Read all slices of a subject, whatever streams it feeds.

        Raises:
            ValueError: There is no such subject.
        """
        name = subject if isinstance(subject, str) else subject.subject
        entry = self._by_name.get(name)
        if entry is None:
            raise ValueError(f"no subject {name} among the prepared slices")
        shape = (entry.num_slices, *self.records.image_size)
        label_map = self._records(entry, "label_map")
        image, mask = self._records(entry, "image"), self._records(entry, "body_mask")
        if label_map is not None:
            label_map = label_map.reshape(shape)
        if image is not None:
            image = image.view("<u2").reshape(shape).astype(np.float32)
            image *= np.float32(2 / IMAGE_LEVELS)
            image -= np.float32(1)
        if mask is not None:
            mask = (
                np.unpackbits(mask, axis=1, count=shape[1] * shape[2]).astype(bool).reshape(shape)
            )
        return SubjectSlices(label_map, image, mask, np.array(entry.slice_indices, int))

    @functools.cached_property
    def _by_name(self) -> dict[str, SubjectRecord]:
        return {entry.subject: entry for entry in self.records.subjects}

    def _records(self, entry: SubjectRecord, kind: Kind) -> np.ndarray | None:
        if kind not in entry.kinds:
            return None
        first = entry.first_record[kind]
        return np.array(self.arrays[kind][first : first + entry.num_slices])


def record_bytes(kind: Kind, image_size: tuple[int, int]) -> int:
    """Length of a record of one slice."""
    pixels = image_size[0] * image_size[1]
    return {"label_map": pixels, "image": 2 * pixels, "body_mask": -(-pixels // 8)}[kind]


def framed_bytes(kind: Kind, image_size: tuple[int, int]) -> int:
    """Length of a record of one slice in a file, with what frames it."""
    return record_bytes(kind, image_size) + FRAME_BYTES

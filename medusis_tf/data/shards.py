"""Volumes converted once to slices in TFRecord files, with a checksummed manifest.

A record holds the pixels of one slice, row by row, little-endian and nothing else: uint8 class ids,
or uint16 intensities of which 0 and 65535 stand for -1 and 1.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pydantic

from medusis_tf.config.data import DataConfig, Split, Stream, Subject
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.conversion import IMAGE_LEVELS, convert_subject, record_file
from medusis_tf.data.manifest import (
    FILE_NAME,
    FORMAT_VERSION,
    ClassRecord,
    FileRecord,
    Manifest,
    SubjectRecord,
)
from medusis_tf.data.subjects import check_files, source_files
from medusis_tf.errors import UserError

logger = logging.getLogger(__name__)

_HASHED_SETTINGS = {"image_size", "field_of_view_mm", "minimum_foreground", "intensity", "tissue"}


@dataclass(frozen=True, eq=False)
class SubjectSlices:
    """The slices of one subject, aligned with each other where there are both kinds.

    Attributes:
        label_map: `[slices, height, width]` uint8 class ids.
        image: `[slices, height, width]` float32 in [-1, 1].
        slice_indices: `[slices]`, of the source volume, 0 the lowest.
    """

    label_map: np.ndarray | None
    image: np.ndarray | None
    slice_indices: np.ndarray


@dataclass(frozen=True)
class Shards:
    """A folder of converted subjects.

    Attributes:
        folder: Holds the shards and `manifest.json`.
        records: The manifest.
    """

    folder: Path
    records: Manifest

    @classmethod
    def open(cls, folder: Path) -> Shards | None:
        """Open a folder; None if it is not there or not whole."""
        try:
            text = (folder / FILE_NAME).read_text(encoding="utf-8")
            records = Manifest.model_validate_json(text)
            files = [file for entry in records.subjects for file in entry.shards.values()]
            whole = all((folder / file.path).stat().st_size == file.bytes for file in files)
        except (OSError, pydantic.ValidationError):
            return None
        return cls(folder, records) if whole else None

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
            if entry.split == split and len(entry.shards) == 2 and entry.num_slices > 0
        )

    def files(self, split: Split, stream: Stream) -> tuple[Path, ...]:
        """The shards of one stream, one for each of its subjects."""
        return tuple(self.folder / e.shards[stream].path for e in self.subjects(split, stream))

    def num_slices(self, split: Split, stream: Stream) -> int:
        """Number of slices of one stream."""
        return sum(entry.num_slices for entry in self.subjects(split, stream))

    def read(self, subject: SubjectRecord | str) -> SubjectSlices:
        """Read all slices of a subject, whatever streams it feeds.

        Raises:
            ValueError: There is no such subject.
        """
        name = subject if isinstance(subject, str) else subject.subject
        found = [entry for entry in self.records.subjects if entry.subject == name]
        if not found:
            raise ValueError(f"no subject {name} in {self.folder}")
        label_map = self._pixels(found[0], "label_map", np.dtype(np.uint8))
        image = self._pixels(found[0], "image", np.dtype("<u2"))
        if image is not None:
            image = image.astype(np.float32) * np.float32(2 / IMAGE_LEVELS) - np.float32(1)
        return SubjectSlices(label_map, image, np.array(found[0].slice_indices, int))

    def _pixels(self, entry: SubjectRecord, stream: Stream, dtype: np.dtype) -> np.ndarray | None:
        import tensorflow as tf

        if stream not in entry.shards:
            return None
        path = str(self.folder / entry.shards[stream].path)
        records = b"".join(tf.data.TFRecordDataset(path).as_numpy_iterator())
        return np.frombuffer(records, dtype).reshape(-1, *self.records.image_size)


def prepare_shards(config: ExperimentConfig) -> Shards:
    """Convert the configured subjects to shards, or find the shards of an earlier run.

    The folder is named after everything its content depends on: settings, class names, subjects
    and the checksums of their files. It appears whole or not at all.

    Raises:
        UserError: Lists the problems of all subjects; or a training stream is left without slices.
    """
    data = config.data
    check_files(data)
    sources = {subject.subject: _source_records(subject, data) for subject in data.subjects}
    folder = data.cache / _content_hash(data, sources)
    shards = Shards.open(folder)
    if shards is not None:
        logger.info("using the slices prepared in %s", folder)
        return shards
    try:
        data.cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=data.cache) as partial:
            _convert_all(data, sources, Path(partial) / "shards")
            _move_into_place(Path(partial) / "shards", folder)
    except OSError as error:
        raise UserError(
            f"cannot write prepared slices to data.cache={data.cache}: {error.strerror or error}."
        ) from None
    shards = Shards.open(folder)
    if shards is None:
        raise UserError(f"the slices written to {folder} cannot be read back. Check the disk.")
    logger.info("prepared slices of %d subjects in %s", len(data.subjects), folder)
    return shards


def _convert_all(data: DataConfig, sources: dict[str, dict[str, FileRecord]], folder: Path) -> None:
    folder.mkdir()
    entries, problems = [], []
    for subject in data.subjects:
        try:
            entry = convert_subject(subject, data, sources[subject.subject], folder)
        except UserError as error:
            problems.append(f"subject {subject.subject}: {error}")
            continue
        entries.append(entry)
        depth = entry.volume_shape[2]
        logger.info("%s: kept %d of %d slices", subject.subject, entry.num_slices, depth)
    if problems:
        raise UserError("\n".join(problems))
    _check_streams(entries, data)
    manifest = Manifest(
        classes=tuple(ClassRecord(id=entry.id, name=entry.name) for entry in data.classes),
        image_size=data.image_size,
        field_of_view_mm=data.field_of_view_mm,
        subjects=tuple(entries),
    )
    (folder / FILE_NAME).write_text(manifest.model_dump_json(indent=2), encoding="utf-8")


def _check_streams(entries: Iterable[SubjectRecord], data: DataConfig) -> None:
    training = [entry for entry in entries if entry.split == "train"]
    for stream in get_args(Stream):
        if not sum(entry.num_slices for entry in training if stream in entry.streams):
            raise UserError(
                f"the training split is left without a single {stream} slice: none shows "
                f"data.minimum_foreground={data.minimum_foreground:g} of foreground. "
                "Lower it, or check that the volumes are not empty."
            )


def _move_into_place(partial: Path, folder: Path) -> None:
    if folder.exists() and Shards.open(folder) is None:
        logger.warning("replacing the damaged slices in %s", folder)
        shutil.rmtree(folder)
    try:
        partial.replace(folder)
    except OSError:
        # Another process has just prepared the same slices: use those.
        if Shards.open(folder) is None:
            raise


def _source_records(subject: Subject, data: DataConfig) -> dict[str, FileRecord]:
    files = source_files(subject, data.root)
    return {role: record_file(path, name) for role, (name, path) in files.items()}


def _content_hash(data: DataConfig, sources: dict[str, dict[str, FileRecord]]) -> str:
    content = {
        "format_version": FORMAT_VERSION,
        "settings": data.model_dump(mode="json", include=_HASHED_SETTINGS),
        "classes": [[entry.id, entry.name] for entry in data.classes],
        "subjects": [
            {
                "subject": subject.subject,
                "split": subject.split,
                "streams": subject.used_streams,
                "sources": {r: f.sha256 for r, f in sources[subject.subject].items()},
            }
            for subject in data.subjects
        ],
    }
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

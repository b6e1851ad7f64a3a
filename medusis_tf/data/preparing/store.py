"""The folder of prepared slices: subjects converted one by one, and data sets put together of them.

    checksums.json              of source files
    subjects/<content>/         subjects converted but not yet in a data set
    <hash>/                     a data set: manifest.json, <kind>.tfrecord, report.html

A subject that stands in one data set with the same content is copied from there, not converted
again; `content` is the hash of everything its slices depend on.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from medusis_tf.data.preparing.conversion import ConvertedSubject, read_converted, write_converted
from medusis_tf.data.shards.manifest import (
    FILE_NAME,
    FileRecord,
    Kind,
    Manifest,
    SubjectRecord,
)
from medusis_tf.data.shards.records import read_chunks
from medusis_tf.data.shards.shards import Shards, framed_bytes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stored:
    """Where the records of a converted subject lie.

    Attributes:
        record: What is known of it; its place in the files is that in `folder`.
        folder: Holds `<kind>.tfrecord`.
    """

    record: SubjectRecord
    folder: Path


class Store:
    """Converted subjects and data sets in one folder.

    Args:
        folder: `data.cache_dir`.
        image_size: Rows and columns of the slices.
    """

    def __init__(self, folder: Path, image_size: tuple[int, int]):
        self.folder = folder
        self.image_size = image_size

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from preparing here; wait if one does. It ends with the process.

        What a killed process left half written is taken away.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("waiting for another process that prepares slices in %s", self.folder)
                fcntl.flock(file, fcntl.LOCK_EX)
            self._clear_partial()
            yield

    def stored(self) -> dict[str, Stored]:
        """All converted subjects that are whole, by content.

        A subject that a data set holds needs no folder of its own: what a killed process left of
        such is taken away.
        """
        found = {}
        for manifest in sorted(self.folder.glob(f"*/{FILE_NAME}")):
            shards = Shards.open(manifest.parent)
            if shards is not None:
                for record in shards.records.subjects:
                    found[record.content] = Stored(record, manifest.parent)
        for folder in sorted((self.folder / "subjects").glob("[!.]*")):
            whole = self._whole(folder)
            if folder.name in found:
                shutil.rmtree(folder)
            elif whole is not None:
                found[whole.content] = Stored(whole, folder)
        return found

    def add(self, converted: ConvertedSubject) -> Stored:
        """Write a converted subject.

        Raises:
            OSError: The disk refuses.
        """
        folder = self.folder / "subjects" / converted.record.content
        write_converted(converted, folder)
        return Stored(converted.record, folder)

    def assemble(self, name: str, manifest: Manifest, parts: Sequence[Stored]) -> Shards:
        """Put a data set together; it appears whole or not at all.

        Args:
            name: Of its folder.
            manifest: Its subjects are those of `parts`, in order; their place is filled in.
            parts: Where the records come from.

        Raises:
            OSError: The disk refuses.
        """
        partial, folder = self.folder / f".partial-{name}", self.folder / name
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        files, places = {}, [dict[Kind, int]() for _ in parts]
        for kind in ("label_map", "image", "body_mask"):
            if any(kind in part.record.kinds for part in parts):
                files[kind] = self._concatenate(kind, partial, parts, places)
        placed = zip(manifest.subjects, places, strict=True)
        subjects = tuple(entry.model_copy(update={"first_record": at}) for entry, at in placed)
        whole = manifest.model_copy(update={"files": files, "subjects": subjects})
        (partial / FILE_NAME).write_text(whole.model_dump_json(indent=1), encoding="utf-8")
        if folder.exists():
            logger.warning("replacing the damaged slices in %s", folder)
            shutil.rmtree(folder)
        partial.replace(folder)
        # A set: subjects whose files are alike share one folder.
        for used in {part.folder for part in parts}:
            if used.parent.name == "subjects":
                shutil.rmtree(used)
        shards = Shards.open(folder)
        if shards is None:
            raise OSError(f"the slices written to {folder} cannot be read back")
        return shards

    def _concatenate(
        self, kind: Kind, folder: Path, parts: Sequence[Stored], places: list[dict[Kind, int]]
    ) -> FileRecord:
        path, framed = folder / f"{kind}.tfrecord", framed_bytes(kind, self.image_size)
        digest, count = hashlib.sha256(), 0
        with path.open("wb") as file:
            for part, place in zip(parts, places, strict=True):
                if kind not in part.record.kinds:
                    continue
                place[kind] = count
                start = part.record.first_record.get(kind, 0) * framed
                length = part.record.num_slices * framed
                source = part.folder / f"{kind}.tfrecord"
                for chunk in read_chunks(source, start, length):
                    file.write(chunk)
                    digest.update(chunk)
                count += part.record.num_slices
        return FileRecord(path=Path(path.name), sha256=digest.hexdigest(), bytes=count * framed)

    def _clear_partial(self) -> None:
        for folder in (self.folder, self.folder / "subjects"):
            for left in folder.glob(".partial-*"):
                shutil.rmtree(left)

    def _whole(self, folder: Path) -> SubjectRecord | None:
        try:
            record = read_converted(folder)
            for kind in record.kinds:
                size = (folder / f"{kind}.tfrecord").stat().st_size
                if size != record.num_slices * framed_bytes(kind, self.image_size):
                    return None
        except (OSError, ValueError):
            return None  # written by another version, or broken: it is converted again
        return record

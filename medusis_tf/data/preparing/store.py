"""The folder of prepared slices: single converted subjects, and data sets assembled from them.

    checksums.json              checksums of source files
    subjects/<content>/         subjects that are converted but not yet in a data set
    <hash>/                     a data set: manifest.json, <kind>.npy, report.html

A subject with the same content in another data set is copied from there, not converted again.
`content` is the hash of everything that determines its slices.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import filelock
import numpy as np

from medusis_tf.data.preparing.conversion import ConvertedSubject
from medusis_tf.data.shards.manifest import FILE_NAME, FileRecord, Kind, Manifest, SubjectRecord
from medusis_tf.data.shards.shards import Shards
from medusis_tf.data.shards.slice_files import SliceLayout, map_slices, slice_file, write_slices
from medusis_tf.data.shards.use import is_used
from medusis_tf.errors import UserError
from medusis_tf.files import replacing_folder
from medusis_tf.json_files import read_json

logger = logging.getLogger(__name__)

RECORD_FILE = "record.json"
_SHARE_LOCK = ".lock-share-"
_PARTIAL = ".partial-"  # as `files.replacing` names what is incomplete
_DATA_SET = re.compile("[0-9a-f]{16}")  # a `data_set_hash`


@dataclass(frozen=True)
class Stored:
    """Location of the slices of a converted subject.

    Attributes:
        record: Entry of the manifest; `first_record` refers to the files in `folder`.
        folder: Folder with one file for each kind.
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
        self._layouts = {kind: SliceLayout.of(kind, image_size) for kind in get_args(Kind)}

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from preparing here, and wait if one does.

        The lock ends with the process. Incomplete files of a killed process are removed.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.folder / ".lock")
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            logger.info("waiting for another process that prepares slices in %s", self.folder)
            lock.acquire()
        try:
            self._wait_for_shares()
            self._clear_partial()
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def locked_share(self, name: str) -> Iterator[None]:
        """Keep other processes from converting the same share, and from assembling a data set.

        Other shares are converted at the same time.

        Args:
            name: Name of the share, for a file.

        Raises:
            UserError: Another process converts this share.
        """
        lock = filelock.FileLock(self.folder / f"{_SHARE_LOCK}{name}")
        with self._locked_shortly():
            try:
                lock.acquire(blocking=False)
            except filelock.Timeout:
                raise UserError(
                    f"another process converts this share to {self.folder}. Give every "
                    "process another --shard."
                ) from None
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def _locked_shortly(self) -> Iterator[None]:
        """Wait until no data set is prepared, and hold the next one up."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(self.folder / ".lock"):
            yield

    def _wait_for_shares(self) -> None:
        for path in sorted(self.folder.glob(f"{_SHARE_LOCK}*")):
            lock = filelock.FileLock(path)
            try:
                lock.acquire(blocking=False)
            except filelock.Timeout:
                logger.info("waiting for another process that converts a share, %s", path.name)
                lock.acquire()
            lock.release()
            path.unlink(missing_ok=True)

    def stored(self, tidy: bool = True) -> dict[str, Stored]:
        """Find all complete converted subjects, by content, whose CT needs no check.

        Args:
            tidy: Whether single subjects that are also part of a data set are removed: a killed
                process left them.
        """
        found = {}
        for place, records in self._data_sets():
            for record in records.subjects:
                if not record.needs_check:
                    found[record.content] = Stored(record, place)
        for folder in sorted((self.folder / "subjects").glob("[!.]*")):
            single = self._read_subject(folder)
            if folder.name in found:
                if tidy:
                    shutil.rmtree(folder)
            elif single is not None and not single.needs_check:
                found[single.content] = Stored(single, folder)
        return found

    def add(self, converted: ConvertedSubject) -> Stored:
        """Write a converted subject.

        Raises:
            OSError: The disk refuses.
        """
        folder = self.folder / "subjects" / converted.record.content
        with replacing_folder(folder) as partial:
            for kind, slices in converted.slices.items():
                write_slices(partial, self._layouts[kind], [slices], len(slices))
            text = converted.record.model_dump_json()
            (partial / RECORD_FILE).write_text(text, encoding="utf-8")
        return Stored(converted.record, folder)

    def assemble(self, name: str, manifest: Manifest, parts: Sequence[Stored]) -> Shards:
        """Assemble a data set. It appears complete or not at all.

        Args:
            name: Name of its folder.
            manifest: Manifest with the subjects of `parts`, in order. The position of their
                slices is filled in.
            parts: Sources of the slices.

        Raises:
            OSError: The disk refuses.
        """
        folder = self.folder / name
        files, firsts = {}, [dict[Kind, int]() for _ in parts]
        with replacing_folder(folder) as partial:
            for kind in get_args(Kind):
                if any(kind in part.record.kinds for part in parts):
                    files[kind] = self._concatenate(kind, partial, parts, firsts)
            placed = zip(manifest.subjects, firsts, strict=True)
            subjects = tuple(entry.model_copy(update={"first_record": at}) for entry, at in placed)
            complete = manifest.model_copy(update={"files": files, "subjects": subjects})
            text = complete.model_dump_json(indent=1)
            (partial / FILE_NAME).write_text(text, encoding="utf-8")
            for report in folder.glob("*.html"):
                shutil.copy2(report, partial)
        # A set: subjects with the same files share one folder.
        for used in {part.folder for part in parts}:
            if used.parent.name == "subjects":
                shutil.rmtree(used)
        shards = Shards.open(folder)
        if shards is None:
            raise OSError(f"the slices written to {folder} cannot be read back")
        return shards

    def data_sets_beside(self, kept: Path) -> dict[Path, int]:
        """Folders of all other complete data sets, with the bytes of their slices.

        A folder that only has a name like theirs is none.
        """
        return {
            folder: sum(file.bytes for file in records.files.values())
            for folder, records in self._data_sets()
            if _DATA_SET.fullmatch(folder.name)
            and not folder.is_symlink()
            and folder.resolve() != kept.resolve()
        }

    def remove_data_sets_beside(self, kept: Path) -> dict[Path, int]:
        """Remove all other data sets but those that a process uses, and return what they were.

        Raises:
            UserError: The disk refuses; or another process has removed the one that is kept.
        """
        try:
            with self.locked():
                if Shards.open(kept) is None:
                    raise UserError(
                        f"another process has removed {kept} meanwhile; no data set was removed "
                        "here. Prepare again."
                    )
                found = self.data_sets_beside(kept)
                removed = {each: size for each, size in found.items() if not self._is_used(each)}
                for folder in removed:
                    # What a killed process leaves of it is removed by the next one.
                    shutil.rmtree(folder.rename(self.folder / f"{_PARTIAL}{folder.name}"))
        except OSError as error:
            raise UserError(
                f"cannot remove data sets from data.cache_dir={self.folder}: "
                f"{error.strerror or error}."
            ) from None
        return removed

    def _concatenate(
        self, kind: Kind, folder: Path, parts: Sequence[Stored], firsts: list[dict[Kind, int]]
    ) -> FileRecord:
        """Write the slices of one kind to one file, and note where each part starts."""
        having, count = [], 0
        for part, first in zip(parts, firsts, strict=True):
            if kind in part.record.kinds:
                having.append(part)
                first[kind] = count
                count += part.record.num_slices
        slices = (self._slices(part, kind) for part in having)
        return write_slices(folder, self._layouts[kind], slices, count)

    def _slices(self, part: Stored, kind: Kind) -> np.ndarray:
        path = slice_file(part.folder, kind)
        first = part.record.first_record.get(kind, 0)
        try:
            slices = map_slices(path, self._layouts[kind])[first : first + part.record.num_slices]
        except ValueError:
            slices = np.empty(0)
        if len(slices) < part.record.num_slices:
            raise OSError(f"{path} ends before its last slice")
        return slices

    def _data_sets(self) -> Iterator[tuple[Path, Manifest]]:
        """Folder and manifest of each complete data set."""
        for manifest in sorted(self.folder.glob(f"*/{FILE_NAME}")):
            shards = Shards.open(manifest.parent)
            if shards is not None:
                yield manifest.parent, shards.records

    def _is_used(self, folder: Path) -> bool:
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, f"{folder.name} cannot be written")
        used = is_used(folder)
        if used:
            logger.info("keeping %s, which another process uses", folder)
        return used

    def _clear_partial(self) -> None:
        for folder in (self.folder, self.folder / "subjects"):
            for left in folder.glob(f"{_PARTIAL}*"):
                try:
                    if left.is_dir() and not left.is_symlink():
                        shutil.rmtree(left)
                    else:
                        left.unlink()
                except OSError as error:  # that of another user, or still in use
                    logger.warning("warning: cannot remove %s: %s", left, error.strerror or error)

    def _read_subject(self, folder: Path) -> SubjectRecord | None:
        """The record of a single subject; None if another version wrote it or it is damaged."""
        try:
            record = SubjectRecord.model_validate(read_json(folder / RECORD_FILE))
            for kind in record.kinds:
                slices = map_slices(slice_file(folder, kind), self._layouts[kind])
                if len(slices) != record.num_slices:
                    return None
        except (OSError, ValueError):
            return None
        return record

"""The files of a synthesis: which exist, which are written, and the record of their origin.

The record of a new volume is written before it. So a volume without a record is none of ours, and
a record without a volume belongs to an interrupted synthesis. A volume that is replaced loses its
record first, and has the new one last.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medusis_tf.data.shards.checksums import all_checksums
from medusis_tf.data.volumes.writing import stem_of
from medusis_tf.errors import UserError
from medusis_tf.files import replacing
from medusis_tf.json_files import read_json

_REMEDY = "Give --overwrite to replace it, or another --out"


def record_path(path: Path) -> Path:
    """The JSON file beside a volume, also beside the folder of a DICOM series."""
    return path.with_name(f"{stem_of(path)}.json")


def _write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write the record of a volume.

    Raises:
        UserError: It cannot be written.
    """
    target = record_path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            temporary.write_text(json.dumps(record, indent=2), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}.") from None


@contextmanager
def recorded(path: Path, record: Mapping[str, Any], may_replace: bool) -> Iterator[None]:
    """Context that writes a volume with its record. If the block raises, both are as before.

    Args:
        path: File, or folder of a DICOM series.
        record: Its record.
        may_replace: Whether an existing volume is replaced; otherwise it is an error.

    Raises:
        UserError: The record cannot be written, or there is a volume already.
    """
    target = record_path(path)
    # Never an old volume beside a new record: it would pass for finished.
    number = _file_number(path)
    replaces = number is not None
    if replaces and not may_replace:
        raise UserError(f"another program has written {path} in the meantime. {_REMEDY}.")
    before = target.read_bytes() if replaces and target.exists() else None
    if replaces:
        target.unlink(missing_ok=True)
    else:
        _write_record(path, record)
    try:
        yield
    except BaseException:
        if _file_number(path) != number:  # the volume is complete: a signal came after that
            _write_record(path, record)
        elif replaces and before is not None:
            target.write_bytes(before)
        elif not replaces:
            target.unlink(missing_ok=True)
        raise
    if replaces:
        _write_record(path, record)


def checked_sources(sources: Mapping[str, Path | None]) -> dict[str, str]:
    """Name and checksum of source files or folders, as in a record.

    Raises:
        UserError: One cannot be read.
    """
    given = {role: (path, path) for role, path in sources.items() if path is not None}
    records = all_checksums({"": given}, None)[""]
    found: dict[str, str] = {}
    for role, (path, _) in given.items():
        found[role], found[f"{role}_sha256"] = path.name, records[role].sha256
    return found


def _file_number(path: Path) -> int | None:
    """Number of a file or folder, another one for what replaces it; None if there is nothing."""
    return path.stat().st_ino if path.exists() else None


def checksum_of(values: Mapping[Any, Any]) -> str | None:
    """Checksum of values that a record need not show; None without values."""
    if not values:
        return None
    return hashlib.sha256(json.dumps(sorted(values.items())).encode()).hexdigest()


def is_finished(path: Path, identity: Mapping[str, Any], may_skip: bool) -> bool:
    """Whether an output exists already, made in the same way.

    Args:
        path: File, or folder of a DICOM series.
        identity: What its record must say.
        may_skip: Whether a finished output is left as it is; otherwise it is an error.

    Raises:
        UserError: Something else is in its place.
    """
    record = _read_record(path)
    if not path.exists():
        if record is None:
            raise _no_record(path)
        return False
    if not record or not may_skip:
        raise UserError(f"{path} exists already. {_REMEDY}.")
    for key, value in identity.items():
        if record.get(key) != value:
            raise UserError(
                f"{path} exists already, and was made differently: {key} was {record.get(key)!r}, "
                f"is {value!r}. {_REMEDY}."
            )
    return True


def check_replaceable(path: Path) -> None:
    """Check that `--overwrite` would replace nothing but a volume and its record.

    Raises:
        UserError: The path is a folder, and no DICOM series of a synthesis; or the JSON file beside
            it is not its record.
    """
    record = _read_record(path)
    if path.is_dir() and not record and any(path.iterdir()):
        raise UserError(
            f"{path} is a folder with other files, which is not replaced. Give another --out."
        )
    if record is None:
        raise _no_record(path)


def check_writable(path: Path, sources: Mapping[str, Path | None]) -> None:
    """Check that an output can be written, and is not one of its sources.

    Raises:
        UserError: It cannot, or it is.
    """
    check_name(path)
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        why = f"no permission to write to {folder}" if folder.is_dir() else f"{folder} is a file"
        raise UserError(f"cannot write {path}: {why}. Choose a file in a writable folder.")
    for name, source in sources.items():
        # Unlike `Path.resolve`, it accepts links that lead to themselves.
        if source is not None and os.path.realpath(path) == os.path.realpath(source):
            raise UserError(f"{path} would replace the {name}.")


def check_name(path: Path) -> None:
    """Check that the libraries that read and write volumes accept a name.

    Raises:
        UserError: It is not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise UserError(f"the name {str(path)!a} is not UTF-8. Rename it.") from None


def numbered(path: Path, count: int) -> list[Path]:
    """Paths of `count` volumes: `mr_1.nii.gz`, `mr_2.nii.gz`, ...; the path itself for one."""
    if count == 1:
        return [path]
    stem = stem_of(path)
    suffix = path.name[len(stem) :]
    return [path.with_name(f"{stem}_{number}{suffix}") for number in range(1, count + 1)]


def _no_record(path: Path) -> UserError:
    return UserError(
        f"{record_path(path)} is no record of {path.name}, and is not replaced. It may be that "
        "of a volume in another format. Give another name in --out."
    )


def _read_record(path: Path) -> dict[str, Any] | None:
    """The record of the synthetic volume; empty if there is no file, None if it is another."""
    target = record_path(path)
    if not target.exists():
        return {}
    try:
        record = read_json(target)
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or record.get("synthetic") is not True:
        return None
    # mr.nii.gz, mr.nrrd and the folder mr have one place for their record.
    return record if record.get("volume", path.name) == path.name else None


def listed(paths: Sequence[Path]) -> str:
    """The first of some paths, and how many there are."""
    return ", ".join(path.name for path in paths[:3]) + ", ..." * (len(paths) > 3)

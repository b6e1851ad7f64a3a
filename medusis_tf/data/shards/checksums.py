"""Checksums of source files, remembered so that unchanged files are not read again."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from medusis_tf.data.shards.manifest import FileRecord
from medusis_tf.data.volumes.companions import companion
from medusis_tf.errors import UserError
from medusis_tf.files import replacing, sha256_of
from medusis_tf.json_files import read_json

FILE_NAME = "checksums.json"

# Path of a file to its size, modification time in nanoseconds and SHA-256.
_Known = dict[str, tuple[int, int, str]]
# Subject to role to file.
Records = dict[str, dict[str, FileRecord]]


def sha256_of_all(digests: Sequence[str]) -> str:
    """One SHA-256 of several checksums, in the given order."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def all_checksums(
    sources: Mapping[str, Mapping[str, tuple[Path, Path]]], remembered: Path | None
) -> Records:
    """Compute the checksums of the source files of all subjects.

    A file is not read if its path, size and modification time are unchanged.

    Args:
        sources: Subject to role to the configured and the actual path.
        remembered: JSON file with earlier checksums, which is updated; None remembers nothing.

    Raises:
        UserError: A file cannot be read.
    """
    known = _read(remembered)
    before = dict(known)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        found = threads.map(lambda files: dict(_records(files, known)), sources.values())
        records = dict(zip(sources, found, strict=True))
    if remembered is not None and known != before:
        _write(known, remembered)
    return records


def _records(
    sources: Mapping[str, tuple[Path, Path]], known: _Known
) -> Iterator[tuple[str, FileRecord]]:
    for role, (name, path) in sources.items():
        try:
            yield role, _record(name, path, known)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None


def _record(name: Path, path: Path, known: _Known) -> FileRecord:
    folder = path if path.is_dir() else path.parent
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file())
    else:
        second = companion(path)
        files = [path] if second is None or not second.is_file() else [path, second]
    digests = [_checksum(file, known) for file in files]
    if path.is_dir() or len(files) > 1:
        names = [f"{file.relative_to(folder)}:{d}" for file, d in zip(files, digests, strict=True)]
        digests = [sha256_of_all(names)]
    size = sum(file.stat().st_size for file in files)
    return FileRecord(path=name, sha256=digests[0], bytes=size)


def _checksum(path: Path, known: _Known) -> str:
    status = path.stat()
    size, modified, digest = known.get(str(path), (-1, -1, ""))
    if (size, modified) != (status.st_size, status.st_mtime_ns):
        digest = sha256_of(path)
        known[str(path)] = (status.st_size, status.st_mtime_ns, digest)
    return digest


def _read(path: Path | None) -> _Known:
    if path is None:
        return {}
    try:
        known = read_json(path)
        return {k: (size, modified, digest) for k, (size, modified, digest) in known.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # only saves time: missing checksums are computed


def _write(known: _Known, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(known))

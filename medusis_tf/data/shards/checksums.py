"""Checksums of source files, remembered so that unchanged files are not read again."""

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from medusis_tf.data.shards.manifest import FileRecord
from medusis_tf.data.shards.records import sha256_of, sha256_of_all
from medusis_tf.errors import UserError

FILE_NAME = "checksums.json"

# Path, size and modification time (nanoseconds) of a file, to its SHA-256.
_Known = dict[str, tuple[int, int, str]]
# Subject to role to file.
Records = dict[str, dict[str, FileRecord]]


def all_checksums(
    sources: Mapping[str, Mapping[str, tuple[Path, Path]]], remembered: Path | None
) -> Records:
    """Subject to role to record, for all subjects.

    A file of the same path, size and modification time as before is not read again.

    Args:
        sources: Subject to role to the path as configured and to the actual one.
        remembered: JSON file of earlier checksums, brought up to date; None to remember nothing.

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
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digests = [_checksum(file, known) for file in files]
    if path.is_dir():
        names = [f"{file.relative_to(path)}:{d}" for file, d in zip(files, digests, strict=True)]
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
        known = json.loads(path.read_text())
        return {k: (size, modified, digest) for k, (size, modified, digest) in known.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # a memory aid only: what it does not hold is computed


def _write(known: _Known, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(known))
    partial.replace(path)

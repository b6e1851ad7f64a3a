"""The files of checkpoints: written whole, checked by their SHA-256, and read by their own path.

    step-6.data-00000-of-00001, step-6.index    what TensorFlow writes
    step-6.sha256                               checksums of both, as `sha256sum -c` reads them
    checkpoint                                  name of the newest, as TensorFlow writes it

Files are written to the folder `partial/` and moved from there. The index is moved last: without
it, a checkpoint does not exist.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import tensorflow as tf

from medusis_tf.files import literal, replacing

logger = logging.getLogger(__name__)

STATE = "checkpoint"
_SIDECAR, _INDEX = ".sha256", ".index"
_PARTIAL = "partial"
_FILE = re.compile(r"step-(\d{1,18})\.(?:index|sha256|data-\d{5}-of-\d{5})", re.ASCII)
_NAMED = re.compile(r'^model_checkpoint_path: "(?:[^"\n]*/)?step-(\d{1,18})"$', re.ASCII | re.M)
_LINE = re.compile(r"([0-9a-f]{64}) [ *](\S+)")
# A sidecar has a line for each file: two, or a few on several devices.
_MOST_BYTES = 2**16


def write(checkpoint: tf.train.Checkpoint, path: Path) -> None:
    """Write a checkpoint with its checksums. It replaces one of the same name.

    If it cannot be written, nothing has changed.

    Args:
        checkpoint: Objects to save.
        path: Path without suffix, `<folder>/step-<number>`. The folder is made, not its parents.

    Raises:
        OSError, tf.errors.OpError: It cannot be written.
    """
    partial = path.parent / _PARTIAL
    try:
        clear_partial(path.parent)
        path.parent.mkdir(exist_ok=True)
        partial.mkdir()
        with literal(partial) as folder:
            checkpoint.write(str(folder / path.name))
        files = sorted(partial.iterdir(), key=_is_index)
        lines = [f"{_sha256_on_disk(file)}  {file.name}\n" for file in files]
        _write_on_disk(partial / f"{path.name}{_SIDECAR}", "".join(lines))
        remove(path)
        for file in sorted(partial.iterdir(), key=_is_index):
            file.replace(path.parent / file.name)
        _sync_folder(path.parent)
    finally:
        clear_partial(path.parent)


def clear_partial(folder: Path) -> None:
    """Remove what a killed process has left half written."""
    shutil.rmtree(folder / _PARTIAL, ignore_errors=True)


def remove(path: Path) -> None:
    """Remove the files of a checkpoint, the index first: without it, none exists.

    Raises:
        OSError: A file cannot be removed.
    """
    for file in sorted(_files(path.parent, path.name), key=_is_index, reverse=True):
        file.unlink(missing_ok=True)


def steps_in(folder: Path) -> list[int]:
    """Return the steps of the checkpoints in a folder, in ascending order.

    Those without an index are not complete, and not among them. Other files are ignored.
    """
    return sorted(
        int(found[1]) for path in _entries(folder) if (found := _FILE.fullmatch(path.name))
        and _is_index(path)
    )  # fmt: skip


def steps_of_all_files(folder: Path) -> list[int]:
    """Return the steps of all files of checkpoints, also incomplete ones, in ascending order."""
    found = (_FILE.fullmatch(path.name) for path in _entries(folder))
    return sorted({int(match[1]) for match in found if match})


def newest_first(folder: Path) -> list[Path]:
    """Return the checkpoints to try, also incomplete ones, in their order.

    The one that the file `checkpoint` names is the first, even if none of its files is left. Only
    its step counts: a path out of the folder is not followed. Later ones are the last, as a run
    that was resumed from an earlier step has not removed them yet.
    """
    steps = steps_of_all_files(folder)
    named = _named_step(folder)
    if named is None:
        named = steps[-1] if steps else 0
    elif named not in steps:
        steps.append(named)
    order = sorted(steps, key=lambda step: (step > named, -step))
    return [folder / f"step-{step}" for step in order]


def write_state(folder: Path, steps: Iterable[int]) -> None:
    """Write which checkpoint is the newest, for TensorFlow's own functions.

    Args:
        folder: Folder of the checkpoints.
        steps: Steps of the checkpoints, the newest last.
    """
    names = [f"step-{step}" for step in steps]
    lines = [f'model_checkpoint_path: "{names[-1]}"\n']
    lines += [f'all_model_checkpoint_paths: "{name}"\n' for name in names]
    with replacing(folder / STATE) as temporary:
        _write_on_disk(temporary, "".join(lines))


def damage(path: Path) -> str | None:
    """Describe what is wrong with the files of a checkpoint; None if they are as written.

    A checkpoint of an earlier version has no checksums. Its tensors are compared with the CRC-32
    that TensorFlow has written beside each, and a log line says so.
    """
    try:
        if not (index := _with_suffix(path, _INDEX)).is_file():
            return f"{index.name} is missing"
        sidecar = _with_suffix(path, _SIDECAR)
        if os.path.lexists(sidecar):
            return _differs(path, sidecar)
        problem = _unreadable(path)
    except OSError as error:
        return f"{Path(error.filename or path).name} cannot be read ({error.strerror})"
    if problem is None:
        logger.info(
            "%s has no checksums: an earlier version wrote it, or %s was removed. Its tensors were "
            "compared with TensorFlow's own checksums.",
            path,
            sidecar.name,
        )
    return problem


def _differs(path: Path, sidecar: Path) -> str | None:
    """Compare the files with the checksums beside them."""
    if not sidecar.is_file() or sidecar.stat().st_size > _MOST_BYTES:
        return f"{sidecar.name} is no list of checksums"
    lines = sidecar.read_bytes().decode("utf-8", "replace").splitlines()
    found = [_LINE.fullmatch(line) for line in lines]
    expected = {match[2]: match[1] for match in found if match}
    written = _with_suffix(path, _INDEX).name in expected and len(expected) > 1
    if None in found or not written or not all(_belongs(name, path.name) for name in expected):
        return f"{sidecar.name} is no list of the checksums of {path.name}"
    for name, checksum in expected.items():
        file = path.parent / name
        if not file.is_file():
            return f"{name} is missing"
        if _sha256(file) != checksum:
            return f"{name} is not as it was written: its SHA-256 differs from {sidecar.name}"
    return None


def _unreadable(path: Path) -> str | None:
    """Read all tensors; TensorFlow compares each with its checksum."""
    if special := [file.name for file in _files(path.parent, path.name) if not file.is_file()]:
        return f"{special[0]} is not a file"
    try:
        with literal(path.parent) as folder:
            reader = tf.train.load_checkpoint(str(folder / path.name))
            for name in reader.get_variable_to_shape_map():
                reader.get_tensor(name)
    except (ValueError, RuntimeError, LookupError, tf.errors.OpError) as error:
        return f"TensorFlow cannot read it ({' '.join(str(error).split())})"
    return None


def _named_step(folder: Path) -> int | None:
    try:
        if not (folder / STATE).is_file() or (folder / STATE).stat().st_size > _MOST_BYTES:
            return None
        found = _NAMED.search((folder / STATE).read_bytes().decode("utf-8", "replace"))
    except OSError:
        return None
    return int(found[1]) if found else None


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _files(folder: Path, name: str) -> list[Path]:
    return [path for path in _entries(folder) if _belongs(path.name, name)]


def _belongs(file: str, name: str) -> bool:
    return file.startswith(f"{name}.") and _FILE.fullmatch(file) is not None


def _with_suffix(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _is_index(file: Path) -> bool:
    return file.suffix == _INDEX


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_on_disk(path: Path) -> str:
    """SHA-256 of a file, which is on the disk afterwards, even if the power fails."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_on_disk(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

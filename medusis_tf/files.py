"""Write files and folders so that a reader never sees half of one."""

import errno
import hashlib
import os
import re
import secrets
import shutil
import socket
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MOST_SWAPS = 100
# TensorFlow takes the paths of checkpoints and SavedModels for patterns.
_PATTERN = re.compile(r"[*?\[\]\\]")
# Processes of other machines may write to a shared folder with the same process id.
_MACHINE = f"{zlib.crc32(socket.gethostname().encode()):08x}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there replaces `path` at the end.

    The temporary name keeps the suffixes, which many writers choose a format by. If the block
    raises, `path` is untouched and the temporary file is removed. What a killed process of this
    machine has left is removed.

    Args:
        path: The file to write; its folder must exist.

    Yields:
        The path to write to, another one for every call.
    """
    temporary = _beside(path, "partial")
    _remove_left(path)
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new empty folder beside `path`, which replaces `path` at the end.

    If the block raises, `path` is untouched and the new folder is removed. Of several writers, the
    last one wins. What a killed process of this machine has left is removed.

    Args:
        path: The folder to write.

    Yields:
        The folder to write to, another one for every call.
    """
    temporary = _beside(path, "partial")
    temporary.mkdir(parents=True)
    _remove_left(path)
    try:
        yield temporary
        replaced = _swap(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for old in replaced:
        _delete(old)


@contextmanager
def literal(folder: Path) -> Iterator[Path]:
    """Yield a path of a folder that TensorFlow does not take for a pattern.

    TensorFlow reads checkpoints and SavedModels by pattern: `[v2]` stands for `v` or `2`.

    Args:
        folder: Existing folder with any name.

    Yields:
        The path itself, or a temporary link to the folder.
    """
    if not _PATTERN.search(str(folder)):
        yield folder
        return
    with tempfile.TemporaryDirectory(dir=_plain_temporary_folder()) as place:
        link = Path(place) / "link"
        link.symlink_to(folder.resolve(), target_is_directory=True)
        yield link


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain_temporary_folder() -> str | None:
    return None if not _PATTERN.search(tempfile.gettempdir()) else "/tmp"  # noqa: S108


def _beside(path: Path, kind: str) -> Path:
    owner = f"{_MACHINE}.{os.getpid()}.{secrets.token_hex(4)}"
    return path.with_name(f".{kind}-{owner}-{path.name}")


def _remove_left(path: Path) -> None:
    """Remove what processes that do not run any more have left of `path`."""
    # What was replaced may be all that is left, if the new one did not come.
    kinds = "partial|replaced" if path.exists() else "partial"
    left = re.compile(rf"\.(?:{kinds})-{_MACHINE}\.(\d+)\.[0-9a-f]+-{re.escape(path.name)}")
    for entry in path.parent.iterdir():
        if (found := left.fullmatch(entry.name)) and not _runs(int(found.group(1))):
            _delete(entry)


def _runs(process: int) -> bool:
    if os.name == "nt":  # there, signal 0 is Ctrl-C
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is that of another user
        return True
    return True


def _swap(new: Path, path: Path) -> list[Path]:
    """Rename `new` to `path`; a folder there is back if that fails.

    Returns:
        The folders that were there, under other names.
    """
    replaced: list[Path] = []
    for _ in range(_MOST_SWAPS):
        old = _move_aside(path)
        try:
            new.replace(path)
        except OSError as error:
            # Another process has put its own folder there in the meantime.
            is_taken = error.errno in (errno.ENOTEMPTY, errno.EEXIST)
            if old is not None and not is_taken:
                old.replace(path)
            if not is_taken:
                raise
        else:
            is_taken = False
        if old is not None:
            replaced.append(old)
        if not is_taken:
            return replaced
    raise FileExistsError(errno.EEXIST, "other programs write to it all the time", str(path))


def _move_aside(path: Path) -> Path | None:
    old = _beside(path, "replaced")
    with suppress(FileNotFoundError):
        path.replace(old)
        return old
    return None


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)

"""Write files and folders so that a reader never sees half of one."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there replaces `path` at the end.

    The temporary name keeps the suffixes, which many writers choose a format by. If the block
    raises, `path` is untouched and the temporary file is removed.

    Args:
        path: The file to write; its folder must exist.

    Yields:
        The path to write to.
    """
    # Two processes may write the same file.
    temporary = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new empty folder beside `path`, which replaces `path` at the end.

    If the block raises, `path` is untouched and the new folder is removed.

    Args:
        path: The folder to write.

    Yields:
        The folder to write to.
    """
    temporary = path.with_name(f".partial-{path.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        _swap(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _swap(new: Path, path: Path) -> None:
    """Rename `new` to `path`; a folder there is deleted last, and is back if that fails."""
    old = path.with_name(f".replaced-{os.getpid()}-{path.name}")
    exists = path.exists()
    if exists:
        path.replace(old)
    try:
        new.replace(path)
    except OSError:
        if exists:
            old.replace(path)
        raise
    if exists:
        shutil.rmtree(old, ignore_errors=True)

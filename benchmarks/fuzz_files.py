"""Inputs of the fuzzing on disk: files, and what is no file."""

import os
from pathlib import Path


def put(path: Path, content: bytes) -> Path:
    """Write an input, and return its path."""
    path.write_bytes(content)
    return path


def linked(path: Path, target: str) -> Path:
    """Make a symbolic link, and return its path."""
    path.symlink_to(target)
    return path


def fifo(path: Path) -> Path:
    """Make a named pipe, which nobody writes to, and return its path."""
    os.mkfifo(path)
    return path


def make_folder(path: Path) -> Path:
    """Make a folder, and return its path."""
    path.mkdir()
    return path

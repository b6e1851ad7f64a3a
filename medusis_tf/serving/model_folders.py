"""The folders of exported models: `saved_models/NAME/VERSION`."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medusis_tf.errors import UserError

_GRAPH = "saved_model.pb"


def find_model(folder: Path) -> Path:
    """Return the folder of a SavedModel.

    Args:
        folder: `saved_models/NAME`, for its newest version, or a version: `saved_models/NAME/3`.

    Raises:
        UserError: There is no exported model.
    """
    if (folder / _GRAPH).is_file():
        return folder
    if (folder / "config.yaml").is_file():
        raise UserError(
            f"{folder} is a run, not an exported model. Export it first: "
            f"medusis export --run {folder}"
        )
    if not folder.is_dir():
        raise UserError(f"there is no model folder {folder}. Check the path.")
    exported = [path for path in _versions(folder) if (path / _GRAPH).is_file()]
    if not exported:
        raise UserError(
            f"{folder} holds no exported model: neither {_GRAPH} nor versions 1, 2, ... with one. "
            "Give a folder written by `medusis export`, such as saved_models/NAME."
        )
    return exported[-1]


@contextmanager
def new_version(folder: Path, version: int | None = None) -> Iterator[tuple[Path, Path]]:
    """Write a new version of a model, which appears only when it is complete.

    A server that watches the folder never sees an incomplete model. No version is overwritten.

    Args:
        folder: `saved_models/NAME`; created with its parents.
        version: Positive version number; by default the next free one.

    Yields:
        An empty folder to write to, and its final path.

    Raises:
        UserError: The version exists.
        OSError: The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if version is None:
        version = max((int(path.name) for path in _versions(folder)), default=0) + 1
    target = folder / str(version)
    if target.exists():
        raise UserError(
            f"{target} exists already. Give another --version, or none for the next free one."
        )
    temporary = folder / f".exporting-{version}-{os.getpid()}"
    temporary.mkdir()
    try:
        yield temporary, target
        _flush_to_disk(temporary)
        temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _versions(folder: Path) -> list[Path]:
    numbered = (path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir())
    return sorted(numbered, key=lambda path: int(path.name))


def _flush_to_disk(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())

"""Remember what a command wrote to a folder of the user, so that it replaces nothing else."""

import json
from collections.abc import Iterable
from pathlib import Path

from medusis_tf.files import replacing, sha256_of
from medusis_tf.json_files import read_json

RECORD = "written_files.json"
_MOST_LISTED = 3


def record_files(folder: Path, names: Iterable[str]) -> None:
    """Add files to the record of a folder, which is the file `written_files.json` in it.

    Args:
        folder: Folder of the record.
        names: Paths of the files, relative to the folder.

    Raises:
        OSError: A file cannot be read, or the record cannot be written.
    """
    known = _recorded(folder) | {name: sha256_of(folder / name) for name in names}
    with replacing(folder / RECORD) as temporary:
        temporary.write_text(json.dumps({"sha256": known}, indent=1) + "\n", encoding="utf-8")


def foreign_files(folder: Path, names: Iterable[str]) -> list[str]:
    """Files that the record of a folder does not contain, or that were changed since.

    Args:
        folder: Folder of the record; it may be missing.
        names: Paths of files, relative to the folder; those that are missing are left out.

    Returns:
        Those of `names` that no command recorded. Links are never recorded.

    Raises:
        OSError: A file cannot be read.
    """
    known = _recorded(folder)
    return [name for name in names if _is_foreign(folder / name, known.get(name))]


def files_in(folder: Path) -> list[str]:
    """Paths of all files in a folder and in those below it, relative to it, without the record."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    names = sorted(path.relative_to(folder).as_posix() for path in found)
    return [name for name in names if name != RECORD]


def listed(names: list[str]) -> str:
    """The first three names, and how many more there are."""
    more = f" and {len(names) - _MOST_LISTED} more" * (len(names) > _MOST_LISTED)
    return ", ".join(names[:_MOST_LISTED]) + more


def _is_foreign(path: Path, digest: str | None) -> bool:
    if path.is_symlink():
        return True
    return path.exists() and (not path.is_file() or sha256_of(path) != digest)


def _recorded(folder: Path) -> dict[str, str]:
    try:
        known = read_json(folder / RECORD)["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return known if isinstance(known, dict) else {}

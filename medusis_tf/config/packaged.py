"""Find the example configurations and class tables that come with the package."""

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_PLACES = (_PACKAGE / "configs", _PACKAGE.parent / "configs")
CONFIGS = next((folder for folder in _PLACES if folder.is_dir()), _PLACES[0])
"""Folder of the configurations: in the package if it is installed, beside it in a checkout."""
TABLES = CONFIGS / "taxonomies"
"""Folder of the class tables and label sources."""
REFINEMENTS = CONFIGS / "refinements"
"""Folder of the refinements: finer classes and the rules that cut them by a CT."""


def find_config(path: Path) -> Path:
    """Return `path`, or the packaged configuration of that name if there is no such file.

    Args:
        path: A file, or a packaged configuration: `quickstart`, `quickstart.yaml` or
            `configs/quickstart.yaml`.
    """
    return path if is_file(path) else packaged_config(path) or path


def find_table(path: str | Path, folder: Path | None = None) -> Path:
    """Return the path of a table, or of the packaged one of that name if there is no such file.

    Args:
        path: A class table or label source: a file, or a packaged one: `synthrad31`,
            `synthrad31.yaml`, `taxonomies/synthrad31.yaml` or
            `configs/taxonomies/synthrad31.yaml`.
        folder: Folder that the file is relative to; the working folder if not given.
    """
    near = (folder or Path()) / path
    return near if is_file(near) else packaged_table(path) or near


def find_refinement(path: str | Path, folder: Path | None = None) -> Path:
    """Return the path of a refinement, as `find_table` does: `tissue` alone is a packaged one."""
    near = (folder or Path()) / path
    return near if is_file(near) else packaged_refinement(path) or near


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have names none."""
    try:
        return path.is_file()
    except OSError:  # too long, or a folder that cannot be read
        return False


def packaged_config(name: str | Path) -> Path | None:
    """Return the packaged configuration of that name, or None. Names are as for `find_config`."""
    return _find(Path(name), CONFIGS, ("", "configs"))


def packaged_table(name: str | Path) -> Path | None:
    """Return the packaged table of that name, or None. Names are as for `find_table`."""
    return _find(Path(name), TABLES, ("", "taxonomies", "configs/taxonomies"))


def packaged_refinement(name: str | Path) -> Path | None:
    """Return the packaged refinement of that name, or None; also `refinements/tissue.yaml`."""
    return _find(Path(name), REFINEMENTS, ("", "refinements", "configs/refinements"))


def _find(name: Path, folder: Path, prefixes: tuple[str, ...]) -> Path | None:
    if name.suffix not in ("", ".yaml") or name.parent not in [Path(each) for each in prefixes]:
        return None
    found = folder / f"{name.stem}.yaml"
    return found if is_file(found) else None

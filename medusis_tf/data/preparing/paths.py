"""Find the volumes that a configuration names, inside `data.root` only."""

import os
from pathlib import Path

from medusis_tf.config.data_references import DATA_ROOT_VARIABLE
from medusis_tf.data.volumes.companions import companion
from medusis_tf.errors import UserError


def resolve_path(root: Path | None, path: Path, follow_links: bool = False) -> Path:
    """Find the location of a configured path on this machine.

    Args:
        root: Folder of the volumes.
        path: Path relative to the root.
        follow_links: Whether links may lead out of the root. The path itself never may.

    Returns:
        The path without links; with `follow_links` the path as configured, because the stores of
        git-annex have names without suffixes.

    Raises:
        UserError: The root is not given or missing, or the path is missing or leads out of it.
    """
    folder = data_root(root)
    # Resolved, so that neither `..` nor a link can reach the rest of the machine: configurations
    # are shared, and may read only the data that they name.
    try:
        named = Path(os.path.normpath(folder / path))
        resolved = (folder / path).resolve()
        is_folder = resolved.is_dir()
        found = is_folder or resolved.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # too long, cyclic links, a null byte
        raise UserError(f"{path} cannot be the path of a volume: {error}.") from None
    if follow_links:
        _check_inside(named, path, folder)
    else:
        _check_links(resolved, path, folder, named.is_relative_to(folder))
    if not found:
        raise _missing(named, path, root)
    return named if follow_links else resolved


def data_root(root: Path | None) -> Path:
    """The folder of the volumes, without links.

    Raises:
        UserError: It is not given or missing.
    """
    remedy = f"Set data.root=FOLDER or the environment variable {DATA_ROOT_VARIABLE}."
    if root is None:
        raise UserError(f"data.root=null: the folder of the volumes is unknown. {remedy}")
    folder = Path(os.path.expanduser(root))  # noqa: PTH111  (an unknown user stays as it is)
    if not folder.is_dir():
        raise UserError(f"data.root={root} is not a folder. {remedy}")
    return folder.resolve()


def _check_links(resolved: Path, path: Path, folder: Path, is_named_inside: bool) -> None:
    """Check that a path, the files of a folder and the second file of a pair are in the root."""
    _check_inside(resolved, path, folder, is_link=is_named_inside)
    if resolved.is_dir():
        for entry in resolved.iterdir():
            _check_inside(entry.resolve(), path / entry.name, folder, is_link=True)
    elif (second := companion(resolved)) is not None:
        _check_inside(second.resolve(), path.with_name(second.name), folder, is_link=True)


def _check_inside(resolved: Path, path: Path, root: Path, is_link: bool = False) -> None:
    if resolved.is_relative_to(root):
        return
    remedy = "Set data.root to a folder that contains all volumes"
    if is_link:
        remedy += ", or data.follow_links=true if you trust the links, as in DataLad data sets"
    raise UserError(f"{path} leads out of data.root={root}, to {resolved}. {remedy}.")


def _missing(named: Path, path: Path, root: Path | None) -> UserError:
    if named.is_symlink():
        return UserError(
            f"{path} in data.root={root} is a link to a file that is not there. If it is from "
            "git-annex or DataLad, fetch it: datalad get, or git annex get."
        )
    return UserError(f"there is no file {path} in data.root={root}. Check both.")

"""The folder that registered pairs are written to: what no earlier run wrote is not replaced."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from medusis_tf.config.data import DataConfig
from medusis_tf.data.preparing.paths import data_root
from medusis_tf.data.preparing.subjects import source_files
from medusis_tf.errors import UserError, reason
from medusis_tf.written_files import files_in, foreign_files, listed


def open_destination(folder: Path, data: DataConfig, names: Iterable[str]) -> None:
    """Make the folder, and check that writing to it destroys nothing.

    Args:
        folder: Folder that gets `SUBJECT/` for every subject.
        data: Configuration of the data that are read.
        names: Files that are written beside the folders of the subjects.

    Raises:
        UserError: The folder cannot be made, is or contains `data.root`, or something in it would
            be replaced that is read, or that no earlier run has written.
    """
    try:
        _check_root(folder, data)
        _check_sources(folder, data)
        for subject in data.subjects:
            _check_subject(folder, folder / subject.subject)
        foreign = foreign_files(folder, names)
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise UserError(
            f"cannot write to {folder}: {reason(error)}. Choose another place with --out."
        ) from None
    if foreign:
        raise _foreign(folder, foreign)


def _check_root(folder: Path, data: DataConfig) -> None:
    root = data_root(data.root)
    if root.is_relative_to(folder.resolve()):
        what = "is" if root == folder.resolve() else "contains"
        raise UserError(
            f"--out {folder} {what} data.root={data.root}, the volumes that are read. They could "
            "be replaced. Choose another folder with --out."
        )


def _check_sources(folder: Path, data: DataConfig) -> None:
    targets = {(folder / subject.subject).resolve() for subject in data.subjects}
    for subject in data.subjects:
        for configured, path in source_files(subject, data).values():
            if path.resolve().parent == folder.resolve():
                raise UserError(
                    f"--out {folder} contains {configured} of subject {subject.subject}, which is "
                    "read. Choose another folder with --out."
                )
            if found := targets.intersection((path.resolve(), *path.resolve().parents)):
                raise UserError(
                    f"--out {folder}: the folder {found.pop()} would be replaced, but {configured} "
                    f"of subject {subject.subject} is read from it. Choose another folder with "
                    "--out."
                )


def _check_subject(folder: Path, target: Path) -> None:
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise _foreign(folder, [target.name])
    if foreign := foreign_files(target, files_in(target)):
        raise _foreign(target, foreign)


def _foreign(folder: Path, names: list[str]) -> UserError:
    return UserError(
        f"{folder} holds what register-pairs did not write, or what was changed since: "
        f"{listed(names)}. It would be replaced. Move it, or choose another folder with --out."
    )

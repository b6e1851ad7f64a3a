"""The folder of a run while it is trained: one process at a time, the same data, the same place."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.errors import UserError
from medusis_tf.json_files import read_json
from medusis_tf.methods.experiment import save_config
from medusis_tf.runs.run_dir import LOCK, check_run_dir, write_run_dir

logger = logging.getLogger(__name__)

# So many subjects are named; the others are counted.
_NAMED = 10


class RunFolder:
    """The place of a run's folder.

    Args:
        folder: The folder; None for a process that writes nothing.
    """

    def __init__(self, folder: Path | None):
        self._folder = folder
        has_links = Path("/proc/self/fd").is_dir()
        self._descriptor = os.open(folder, os.O_RDONLY) if folder and has_links else None

    def check_in_place(self, save: Callable[[Path], object]) -> None:
        """Check that the folder has not been moved or removed since the start.

        Args:
            save: Saves a checkpoint in the folder at its new place.

        Raises:
            UserError: It has. If it was moved, the checkpoint has been saved.
        """
        if self._folder is None or self._descriptor is None:
            return
        try:
            if os.path.samestat(self._folder.stat(), os.fstat(self._descriptor)):
                return
        except FileNotFoundError:
            pass
        place = Path(f"/proc/self/fd/{self._descriptor}").readlink()
        if not place.is_dir():
            raise UserError(
                f"{self._folder} was removed while the run was training. Nothing is written there "
                "any more. Train again, or put the folder back and continue with --resume."
            )
        save(place)
        raise UserError(
            f"{self._folder} was moved to {place} while the run was training. A checkpoint was "
            f"saved there. Continue with --resume runs_dir={place.parent} name={place.name}"
        )

    def close(self) -> None:
        """Forget the place."""
        if self._descriptor is not None:
            os.close(self._descriptor)


@contextmanager
def open_run(
    config: ExperimentConfig, manifest: dict[str, Any], resume: bool, writes: bool = True
) -> Iterator[RunFolder]:
    """Context in which no other process trains in the folder of a run.

    A new run writes `config.yaml` and `manifest.json`. A resumed run writes the settings that have
    changed to `config.yaml`.

    Args:
        config: The experiment.
        manifest: Subjects and checksums of the prepared slices.
        resume: Whether the run continues.
        writes: Whether this process writes. If not, nothing happens.

    Raises:
        UserError: Another process trains here; the data have changed; a new run would overwrite
            another; or the folder cannot be written.
    """
    if not writes:
        yield RunFolder(None)
        return
    lock = _locked(config.run_dir)
    try:
        check_run_dir(config, resume)
        if resume:
            check_data(config.run_dir, manifest)
            _update_config(config)
        else:
            write_run_dir(config, manifest)
        folder = RunFolder(config.run_dir)
        try:
            yield folder
        finally:
            folder.close()
    finally:
        lock.release()


def check_data(run_dir: Path, manifest: dict[str, Any]) -> None:
    """Check that a run continues with the files that it began with.

    Args:
        run_dir: Folder of the run.
        manifest: Subjects and checksums of the prepared slices.

    Raises:
        UserError: Files of subjects differ. The message names the subjects.
    """
    path = run_dir / "manifest.json"
    try:
        before = _sources(read_json(path))
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        logger.warning("warning: cannot read %s: the data are not compared with it", path)
        return
    now = _sources(manifest)
    names = [name for name in sorted(before | now) if before.get(name) != now.get(name)]
    if names:
        more = f" and {len(names) - _NAMED} others" if len(names) > _NAMED else ""
        raise UserError(
            f"--resume cannot continue {run_dir} with other data: the files of "
            f"{', '.join(names[:_NAMED])}{more} are not those that the run began with "
            "(manifest.json has their checksums). Restore the files, or train a new run: name=NAME."
        )


def _sources(manifest: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Checksums of the files, by subject and role."""
    return {
        entry["subject"]: {role: file["sha256"] for role, file in entry["sources"].items()}
        for entry in manifest.get("subjects", [])
    }


def _locked(run_dir: Path) -> filelock.BaseFileLock:
    lock = filelock.FileLock(run_dir / LOCK)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except filelock.Timeout:
        raise UserError(
            f"another process is training {run_dir}. Wait until it ends, or choose another name: "
            "name=NAME."
        ) from None
    except OSError as error:
        raise UserError(
            f"cannot write the run to {run_dir}: {error.strerror}. "
            "Choose another folder with runs_dir=DIR."
        ) from None
    return lock


def _update_config(config: ExperimentConfig) -> None:
    path = config.run_dir / "config.yaml"
    try:
        save_config(config, path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}. Make it writable.") from None

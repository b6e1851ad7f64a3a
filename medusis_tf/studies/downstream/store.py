"""Files of the study: settings, results, segmenters and example slices."""

from __future__ import annotations

import json
import logging
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medusis_tf.errors import UserError
from medusis_tf.files import replacing
from medusis_tf.json_files import read_json
from medusis_tf.reports.formatting import strict_json
from medusis_tf.studies.downstream.rows import Row, row_of_key
from medusis_tf.studies.downstream.stored_result import Scored, read_result, result_content
from medusis_tf.studies.downstream.summary import Result

logger = logging.getLogger(__name__)

_LONGEST_VALUE = 60


class StudyStore:
    """The folder of a study. A result is complete or absent.

    Args:
        folder: Folder, made if necessary.

    Raises:
        UserError: It cannot be made.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._damaged: set[Path] = set()
        try:
            for name in ("results", "segmenters", "examples"):
                (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from None

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Record the settings, or compare them with those of the earlier results.

        Args:
            settings: Values by name; None for what no row needs, which is not compared.

        Raises:
            UserError: They differ, or those of the earlier results are unknown.
        """
        ours = json.loads(strict_json(settings))
        theirs = self._earlier_settings()
        known = {name: value for name, value in ours.items() if value is not None}
        if theirs and (lost := sorted(set(known) - set(theirs))):
            raise self._unknown_settings(f"has no {', '.join(lost)}")
        changes = [
            f"{name}: {_short(theirs[name])} before, {_short(value)} now"
            for name, value in known.items()
            if theirs.get(name) not in (None, value)
        ]
        if changes:
            raise UserError(
                f"{self.folder} has results with other settings: {'; '.join(changes)}. "
                "Give another --out, or the earlier settings."
            )
        self.write("settings.json", strict_json({**ours, **theirs, **known}))

    def _earlier_settings(self) -> dict[str, Any]:
        """Settings of the earlier results; empty if there are none."""
        path = self.folder / "settings.json"
        if not path.exists():
            if any((self.folder / "results").glob("*.json")):
                raise self._unknown_settings("is missing")
            return {}
        try:
            found = read_json(path)
        except (OSError, ValueError):
            found = None
        if not isinstance(found, dict) or not found:
            raise self._unknown_settings("is damaged")
        return found

    def _unknown_settings(self, problem: str) -> UserError:
        return UserError(
            f"{self.folder / 'settings.json'} {problem}: nobody can tell the settings of the "
            "results beside it. Restore it, or give another --out."
        )

    def result(
        self, row: Row, seed: int, trained_on: Sequence[str], expected: Scored
    ) -> Result | None:
        """The result of a row and a seed; None if it is not finished.

        Args:
            row: Row.
            seed: Seed of the study.
            trained_on: Patients that the row is trained on.
            expected: What it must have scores of.

        Raises:
            UserError: The file is damaged, or of something else. It is left as it is.
        """
        path = self.result_path(row, seed)
        if not path.exists():
            return None
        try:
            return read_result(path, row, seed, trained_on, expected)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{path} is damaged: {reason}. Restore it, or delete it to train the row again."
            ) from None

    def save_result(self, result: Result) -> None:
        """Write the result of a row and a seed; this marks it as finished."""
        self.write(_result_name(result.row, result.seed), strict_json(result_content(result)))

    def result_path(self, row: Row, seed: int) -> Path:
        """Path of the result of a row and a seed."""
        return self.folder / _result_name(row, seed)

    def finished(self) -> set[tuple[Row, int]]:
        """Rows and seeds that have a result, whatever it is."""
        found = set()
        for path in (self.folder / "results").glob("*_seed_*.json"):
            key, _, seed = path.stem.rpartition("_seed_")
            row = row_of_key(key)
            if row is not None and seed.isdecimal():
                found.add((row, int(seed)))
        return found

    def weights(self, row: Row, seed: int) -> Path:
        """Path of the weights of a segmenter, for fine-tuning and `medusis evaluate`."""
        return self.folder / "segmenters" / f"{row.key}_seed_{seed}.weights.h5"

    def save_examples(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write example slices for the report."""
        with replacing(self.folder / "examples" / f"{name}.npz") as path:
            np.savez_compressed(path, **arrays)  # type: ignore[arg-type]

    def examples(self, name: str, num_classes: int) -> dict[str, np.ndarray] | None:
        """Read example slices; None if there are none, or if they are damaged, which is logged.

        Args:
            name: Name of the examples.
            num_classes: Number of classes, background included.
        """
        path = self.folder / "examples" / f"{name}.npz"
        if not path.is_file():
            return None
        try:
            # Opened here: NumPy leaves a file open that is no archive.
            with path.open("rb") as file, zipfile.ZipFile(file):
                file.seek(0)
                with np.load(file) as found:
                    arrays = dict(found)
            _check_examples(arrays, num_classes)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            if path not in self._damaged:
                self._damaged.add(path)
                reason = (str(error).splitlines() or ["it is empty"])[0]
                logger.warning("warning: the report lacks %s, which is damaged: %s", path, reason)
            return None
        return arrays

    def write(self, name: str, text: str) -> Path:
        """Write a text file.

        Raises:
            UserError: It cannot be written.
        """
        target = self.folder / name
        try:
            with replacing(target) as path:
                path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise self._unwritable(error) from None
        return target

    def _unwritable(self, error: OSError) -> UserError:
        return UserError(f"cannot write to {self.folder}: {error.strerror}. Give another --out.")


def _result_name(row: Row, seed: int) -> str:
    return f"results/{row.key}_seed_{seed}.json"


def _check_examples(arrays: Mapping[str, np.ndarray], num_classes: int) -> None:
    if lost := {"label_map", "image"} - set(arrays):
        raise ValueError(f"it has no {' and no '.join(sorted(lost))}")
    label_map, image = arrays["label_map"], arrays["image"]
    if image.ndim != 3 or image.shape != label_map.shape or not len(image):
        raise ValueError("its arrays are not slices of one size")
    if not (image.dtype.kind == "f" and np.isfinite(image).all()):
        raise ValueError("its images are not finite")
    for ids in (label_map, arrays.get("found", label_map)):
        if ids.dtype != np.uint8 or ids.ndim != 3 or ids.max(initial=0) >= num_classes:
            raise ValueError("it has unknown class ids")


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."

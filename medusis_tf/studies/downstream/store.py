"""Files of the study: settings, results, segmenters and example slices."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from medusis_tf.errors import UserError
from medusis_tf.files import replacing
from medusis_tf.json_files import read_json
from medusis_tf.reports.formatting import strict_json
from medusis_tf.studies.downstream.rows import Row
from medusis_tf.studies.downstream.scores import ClassScore
from medusis_tf.studies.downstream.summary import Result

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
            UserError: They differ.
        """
        path = self.folder / "settings.json"
        ours = json.loads(strict_json(settings))
        theirs = read_json(path) if path.is_file() else {}
        known = {name: value for name, value in ours.items() if value is not None}
        changes = [
            f"{name}: {_short(theirs[name])} before, {_short(value)} now"
            for name, value in known.items()
            if theirs.get(name, value) != value and theirs[name] is not None
        ]
        if changes:
            raise UserError(
                f"{self.folder} has results with other settings: {'; '.join(changes)}. "
                "Give another --out, or the earlier settings."
            )
        self.write("settings.json", strict_json({**ours, **theirs, **known}))

    def result(self, row: Row, seed: int) -> Result | None:
        """The result of a row and a seed; None if it is not finished."""
        path = self.result_path(row, seed)
        if not path.is_file():
            return None
        content = read_json(path)
        scores = {
            patient: {
                name: ClassScore(**{key: _number(value) for key, value in each.items()})
                for name, each in classes.items()
            }
            for patient, classes in content["scores"].items()
        }
        return Result(row, seed, tuple(content["training_patients"]), scores)

    def save_result(self, result: Result) -> None:
        """Write the result of a row and a seed; this marks it as finished."""
        scores = {
            patient: {name: asdict(each) for name, each in classes.items()}
            for patient, classes in result.scores.items()
        }
        content = {
            "row": result.row.key,
            "seed": result.seed,
            "training_patients": result.patients,
            "scores": scores,
        }
        self.write(_result_name(result.row, result.seed), strict_json(content))

    def result_path(self, row: Row, seed: int) -> Path:
        """Path of the result of a row and a seed."""
        return self.folder / _result_name(row, seed)

    def weights(self, row: Row, seed: int) -> Path:
        """Path of the weights of a segmenter, for fine-tuning and `medusis evaluate`."""
        return self.folder / "segmenters" / f"{row.key}_seed_{seed}.weights.h5"

    def save_examples(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write example slices for the report."""
        with replacing(self.folder / "examples" / f"{name}.npz") as path:
            np.savez_compressed(path, **arrays)  # type: ignore[arg-type]

    def examples(self, name: str) -> dict[str, np.ndarray] | None:
        """Read example slices; None if there are none."""
        path = self.folder / "examples" / f"{name}.npz"
        if not path.is_file():
            return None
        with np.load(path) as found:
            return dict(found)

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


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 3] + "..."

"""The file of a result: what it must contain, so that no other numbers enter the tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pydantic
from pydantic import Field

from medusis_tf.config.problems import problem_lines
from medusis_tf.config.section import Section
from medusis_tf.json_files import read_json
from medusis_tf.studies.downstream.rows import Row
from medusis_tf.studies.downstream.scores import ClassScore
from medusis_tf.studies.downstream.summary import Result

Dice = Annotated[float, Field(ge=0, le=1, strict=True)]
Millimetres = Annotated[float, Field(ge=0, strict=True)]


class StoredScore(Section):
    """Agreement of one class of one patient.

    Attributes:
        dice: 0 to 1; null if the class is neither in the label map nor found.
        hd95_mm: Distance in mm; null without one.
        not_found: Whether the class is in the label map and was not found. Files written before
            December 2026 do not say so; then a Dice of 0 without a distance counts.
    """

    dice: Dice | None
    hd95_mm: Millimetres | None
    not_found: bool | None = None

    @pydantic.model_validator(mode="after")
    def _check(self) -> StoredScore:
        if self.not_found and (self.dice != 0 or self.hd95_mm is not None):
            raise ValueError("a class that was not found has Dice 0 and no distance")
        return self

    def score(self) -> ClassScore:
        """The score, with NaN for null."""
        missed = self.not_found
        if missed is None:
            missed = self.dice == 0 and self.hd95_mm is None
        dice, hd95_mm = (math.nan if v is None else v for v in (self.dice, self.hd95_mm))
        return ClassScore(dice, hd95_mm, missed)


class StoredResult(Section):
    """One training and its scores.

    Attributes:
        row: Key of the row.
        seed: Seed of the study.
        training_patients: Patients whose label maps or images were trained on.
        scores: Scores by test patient and class.
    """

    row: str
    seed: Annotated[int, Field(strict=True)]
    training_patients: Annotated[tuple[str, ...], Field(min_length=1)]
    scores: Annotated[
        dict[str, Annotated[dict[str, StoredScore], Field(min_length=1)]], Field(min_length=1)
    ]


@dataclass(frozen=True)
class Scored:
    """What every result of a study has scores of.

    Attributes:
        patients: Test patients.
        class_names: Classes without the background.
    """

    patients: tuple[str, ...]
    class_names: tuple[str, ...]


def result_content(result: Result) -> dict[str, Any]:
    """What the file of a result contains; NaN is null there."""
    return {
        "row": result.row.key,
        "seed": result.seed,
        "training_patients": result.patients,
        "scores": {
            patient: {name: vars(each) for name, each in classes.items()}
            for patient, classes in result.scores.items()
        },
    }


def read_result(
    path: Path, row: Row, seed: int, trained_on: Sequence[str], expected: Scored
) -> Result:
    """Read the file of a result.

    Args:
        path: File.
        row: Row that it must be of.
        seed: Seed that it must be of.
        trained_on: Patients that it must have been trained on.
        expected: What it must have scores of.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is damaged, or of something else; one line.
    """
    try:
        found = StoredResult.model_validate(read_json(path))
    except pydantic.ValidationError as error:
        raise ValueError(problem_lines(error)[0]) from None
    compared = {
        "row": (found.row, row.key),
        "seed": (found.seed, seed),
        "training_patients": (sorted(found.training_patients), sorted(trained_on)),
        "test patients": (sorted(found.scores), sorted(expected.patients)),
        **{
            f"classes of {patient}": (sorted(classes), sorted(expected.class_names))
            for patient, classes in found.scores.items()
        },
    }
    for name, (theirs, ours) in compared.items():
        if theirs != ours:
            raise ValueError(f"{name}: {theirs}, not {ours}")
    # In the order of the study: a file may list patients and classes in another one.
    scores = {
        patient: {name: found.scores[patient][name].score() for name in expected.class_names}
        for patient in expected.patients
    }
    return Result(row, seed, found.training_patients, scores)

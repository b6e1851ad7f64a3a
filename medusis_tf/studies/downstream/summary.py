"""Summary of the results: means over seeds, patients and classes, ratios and paired tests."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from medusis_tf.studies.downstream.rows import MIXTURE, REAL, SYNTHETIC, Row
from medusis_tf.studies.downstream.scores import Scores

# All sign patterns are tried up to this number of patients; beyond, as many are drawn.
MOST_EXACT = 16
_PATTERNS = 2**MOST_EXACT
# Patterns at once, for memory.
_BATCH = 2**12


@dataclass(frozen=True)
class Result:
    """One training and its scores.

    Attributes:
        row: What was trained.
        seed: Seed of the study.
        patients: Patients whose label maps or images were trained on.
        scores: Scores on the test patients.
    """

    row: Row
    seed: int
    patients: tuple[str, ...]
    scores: Scores


@dataclass(frozen=True, eq=False)
class RowScores:
    """All results of a row as arrays.

    Attributes:
        row: Row.
        seeds: Seeds of the results.
        patients: Test patients.
        class_names: Classes.
        dice: `[seeds, patients, classes]`; NaN for a class that is in neither label map nor image.
        hd95_mm: Same shape; NaN for a class that was not found, or is not there.
        missed: Same shape; whether a class that is in the label map was not found at all.
        trained_on: Number of patients in training.
    """

    row: Row
    seeds: tuple[int, ...]
    patients: tuple[str, ...]
    class_names: tuple[str, ...]
    dice: np.ndarray
    hd95_mm: np.ndarray
    missed: np.ndarray
    trained_on: int

    @property
    def by_patient(self) -> np.ndarray:
        """`[patients]` Dice, mean over classes and seeds."""
        return mean(mean(self.dice, 2), 0)

    @property
    def by_seed(self) -> np.ndarray:
        """`[seeds]` Dice, mean over classes and patients."""
        return mean(mean(self.dice, 2), 1)

    @property
    def mean_dice(self) -> float:
        """Dice, mean over classes, patients and seeds."""
        return float(mean(self.by_seed, 0))

    @property
    def by_class(self) -> np.ndarray:
        """`[classes]` Dice, mean over patients and seeds."""
        return mean(mean(self.dice, 1), 0)

    @property
    def hd95_by_class(self) -> np.ndarray:
        """`[classes]` HD95 in mm, mean over patients and seeds in which the class was found."""
        return mean(self.hd95_mm, (0, 1))

    @property
    def mean_hd95_mm(self) -> float:
        """Mean over the classes."""
        return float(mean(self.hd95_by_class, 0))

    @property
    def not_found(self) -> int:
        """Number of classes of patients that were not found at all, over all seeds.

        A class that was found elsewhere, or found where it is not, does not count.
        """
        return int(self.missed.sum())


@dataclass(frozen=True)
class PairedTest:
    """Comparison of two rows over the test patients.

    Attributes:
        row: Key of the first row.
        against: Key of the second row.
        difference: Mean Dice of the first minus that of the second, over the compared patients;
            NaN without any.
        p: Two-sided p value; NaN for fewer than two patients.
        attainable: Smallest p value that the test can give: 2 / 2**n for n patients, or, of
            patterns that are drawn, twice one in their number and one.
        patients: Number of compared patients: those with a Dice in both rows.
        is_exact: Whether all sign patterns were tried, and not only a random sample.
    """

    row: str
    against: str
    difference: float
    p: float
    attainable: float
    patients: int
    is_exact: bool = True


def collect(results: Iterable[Result]) -> dict[str, RowScores]:
    """Sort results by row, in the order of their first seed."""
    found: dict[str, list[Result]] = {}
    for result in results:
        found.setdefault(result.row.key, []).append(result)
    return {key: _row_scores(parts) for key, parts in found.items()}


def paired_test(one: RowScores, other: RowScores) -> PairedTest:
    """Permutation test of the mean difference of the patients' Dice.

    Under the null hypothesis, the sign of each patient's difference is arbitrary. n patients give
    2**n sign patterns, so that no p is below 2 / 2**n. Up to `MOST_EXACT` patients, all patterns
    are tried; beyond, 65,536 are drawn with a fixed seed. A patient without a Dice in either row
    is left out.

    Source: `scipy.stats.permutation_test` with paired samples.
    """
    a, b = one.by_patient, other.by_patient
    compared = ~np.isnan(a - b)
    a, b = a[compared], b[compared]
    count = len(a)
    p = np.nan
    if count > 1:
        p = stats.permutation_test(
            (a, b), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples",
            n_resamples=_PATTERNS, batch=_BATCH, rng=0, vectorized=True,
        ).pvalue  # fmt: skip
    difference = float(mean(a - b, 0))
    is_exact = count <= MOST_EXACT
    attainable = attainable_p(count)
    keys = one.row.key, other.row.key
    return PairedTest(*keys, difference, float(p), attainable, count, is_exact)


def attainable_p(patients: int) -> float:
    """Smallest p value that `paired_test` can give for a number of patients."""
    if patients > MOST_EXACT:
        # SciPy counts the pattern that was observed as one of those drawn.
        return 2.0 / (_PATTERNS + 1)
    return min(1.0, 2.0 / 2**patients)


def all_tests(rows: Mapping[str, RowScores]) -> list[PairedTest]:
    """Tests of synthetic images: against each other training set, and as a start of fine-tuning."""
    pairs = [(SYNTHETIC, key) for key, each in rows.items() if not each.row.is_fine_tuning]
    for each in rows.values():
        count = each.row.patients
        if each.row.start == SYNTHETIC:
            pairs += [(each.row.key, Row(REAL, count, start).key) for start in (None, MIXTURE)]
    return [
        paired_test(rows[one], rows[other])
        for one, other in pairs
        if one != other and one in rows and other in rows
    ]


def as_content(rows: Mapping[str, RowScores]) -> dict[str, Any]:
    """Rows and tests for `results.json`."""
    bound = rows.get(REAL)
    return {
        "rows": [_row_content(each, bound) for each in rows.values()],
        "tests": [vars(test) for test in all_tests(rows)],
    }


def mean(values: np.ndarray, axis: int | tuple[int, ...]) -> np.ndarray:
    """Mean without NaN; NaN where there is nothing else."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
        return np.nanmean(values, axis=axis)


def _row_scores(results: Sequence[Result]) -> RowScores:
    first = results[0]
    patients = tuple(first.scores)
    names = tuple(first.scores[patients[0]])

    def array(metric: str) -> np.ndarray:
        return np.array(
            [
                [[getattr(each.scores[p][name], metric) for name in names] for p in patients]
                for each in results
            ]
        )

    seeds = tuple(each.seed for each in results)
    metrics = array("dice"), array("hd95_mm"), array("not_found")
    return RowScores(first.row, seeds, patients, names, *metrics, len(first.patients))


def _row_content(scores: RowScores, bound: RowScores | None) -> dict[str, Any]:
    deviation = float(np.std(scores.by_seed, ddof=1)) if len(scores.seeds) > 1 else np.nan
    return {
        "row": scores.row.key,
        "title": scores.row.title,
        "training_patients": scores.trained_on,
        "mean_dice": scores.mean_dice,
        "deviation_over_seeds": deviation,
        "ratio_to_upper_bound": np.nan if bound is None else scores.mean_dice / bound.mean_dice,
        "mean_hd95_mm": scores.mean_hd95_mm,
        "classes_not_found": scores.not_found,
        "by_seed": dict(zip(map(str, scores.seeds), scores.by_seed.tolist(), strict=True)),
        "by_patient": dict(zip(scores.patients, scores.by_patient.tolist(), strict=True)),
        "classes": {
            name: {"dice": float(scores.by_class[k]), "hd95_mm": float(scores.hd95_by_class[k])}
            for k, name in enumerate(scores.class_names)
        },
    }

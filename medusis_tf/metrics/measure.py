"""Collect the values of a metric and summarize them over patients and over noise seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Summary:
    """A metric over the patients of a data set.

    Attributes:
        mean: Mean of the patients' means; NaN if no patient has a value.
        standard_deviation: Of the patients' means, unbiased variance; NaN for one patient.
        slice_standard_deviation: Of all values around their common mean.
        low: Lower end of the bootstrap interval of `mean`; NaN for one patient.
        high: Upper end of the interval.
        patients: Number of patients with a value.
        slices: Number of values.
    """

    mean: float
    standard_deviation: float
    slice_standard_deviation: float
    low: float
    high: float
    patients: int
    slices: int


NO_VALUES = Summary(np.nan, np.nan, np.nan, np.nan, np.nan, patients=0, slices=0)


def summarize(values: Mapping[str, Sequence[float]], seed: int = 0) -> Summary:
    """Summarize the values of a metric, with equal weight for each patient.

    Slices of one patient are alike. Patients are therefore resampled, not slices.

    Args:
        values: Patient to the values of its slices. NaN marks a slice without a value. An infinite
            value, such as the PSNR of equal images, makes the mean infinite and leaves the spread
            and the interval undefined.
        seed: Seed of the resampling.
    """
    kept = [np.asarray(part, np.float64) for part in _without_nan(values).values()]
    if not kept:
        return NO_VALUES
    means = np.array([part.mean() for part in kept])
    pooled = np.concatenate(kept)
    low, high = interval(means, seed)
    return Summary(
        float(means.mean()), _deviation(means), _deviation(pooled), low, high, len(kept),
        len(pooled),
    )  # fmt: skip


def interval(means: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of patients' means.

    Args:
        means: `[patients]`.
        seed: Seed of the resampling.

    Returns:
        Lower and upper end; NaN for fewer than two patients and for infinite means.

    Source: Efron and Tibshirani 1993; `scipy.stats.bootstrap`.
    """
    if len(means) < 2 or not np.isfinite(means).all():
        return np.nan, np.nan
    found = stats.bootstrap(
        (means,), np.mean, n_resamples=RESAMPLES, confidence_level=LEVEL, method="percentile",
        rng=seed,
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


class PatientValues:
    """Values of several metrics by patient and noise seed; NaN for a slice without a value."""

    def __init__(self) -> None:
        # Metric, patient, and (seed, value) in the order of the calls of `add`.
        self._values: dict[str, dict[str, list[tuple[int, float]]]] = defaultdict(
            lambda: defaultdict(list)
        )

    def add(self, patient: str, metric: str, values: Iterable[float], seed: int = 0) -> None:
        """Add values of a patient, one for each slice or volume.

        Args:
            patient: Patient of the values.
            metric: Name of the metric.
            values: Values, in any number.
            seed: Noise seed of the images.
        """
        self._values[metric][patient] += [(seed, float(value)) for value in values]

    def summaries(self, by_patient: bool = False) -> dict[str, dict[str, Any]]:
        """Metric to its `Summary` as a dictionary, in the order in which metrics were added.

        With images of several noise seeds, a summary has `by_seed`: seed to the mean of its
        patients' means.

        Args:
            by_patient: Whether to add `by_patient`, the mean of each patient, for paired tests.
        """
        found = {metric: asdict(summarize(self._pooled(metric))) for metric in self._values}
        for metric, summary in found.items():
            if by_patient:
                kept = _without_nan(self._pooled(metric))
                summary["by_patient"] = {name: float(np.mean(part)) for name, part in kept.items()}
            if by_seed := self._by_seed(metric):
                summary["by_seed"] = by_seed
        return found

    def _pooled(self, metric: str) -> dict[str, list[float]]:
        return {
            patient: [value for _, value in values]
            for patient, values in self._values[metric].items()
        }

    def _by_seed(self, metric: str) -> dict[str, float]:
        values = self._values[metric]
        seeds = dict.fromkeys(seed for part in values.values() for seed, _ in part)
        if len(seeds) < 2:
            return {}
        found = {}
        for seed in seeds:
            own = {p: [value for s, value in part if s == seed] for p, part in values.items()}
            means = [np.mean(part) for part in _without_nan(own).values()]
            found[str(seed)] = float(np.mean(means)) if means else np.nan
        return found


def _without_nan(values: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """The values of each patient that are numbers; patients without any are left out."""
    kept = {name: [value for value in part if not np.isnan(value)] for name, part in values.items()}
    return {name: part for name, part in kept.items() if part}


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 and np.isfinite(values).all() else np.nan

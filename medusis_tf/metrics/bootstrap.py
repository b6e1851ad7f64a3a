"""Mean, spread and patient-level bootstrap interval of a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Summary:
    """A figure over the patients of a data set.

    Attributes:
        mean: Of the patients' means; NaN if nobody has the figure.
        standard_deviation: Of the patients' means, from the unbiased variance; NaN for one patient.
        slice_standard_deviation: Of the slices' values around the mean of all slices.
        low: Lower end of the bootstrap interval; NaN for one patient.
        high: Upper end.
        patients: That have the figure.
        slices: That have it.
    """

    mean: float
    standard_deviation: float
    slice_standard_deviation: float
    low: float
    high: float
    patients: int
    slices: int


NOBODY = Summary(np.nan, np.nan, np.nan, np.nan, np.nan, patients=0, slices=0)


def summarize(values: Mapping[str, Sequence[float]], seed: int = 0) -> Summary:
    """Summarise a figure that every slice of some patients has.

    Slices of one patient are alike, so that patients are resampled, not slices: the interval is
    that of the mean of patients' means (percentile bootstrap, Efron and Tibshirani 1993).

    Args:
        values: Patient to the values of its slices; NaN means that a slice has none. An infinite
            value, such as the PSNR of equal images, makes the mean infinite; there is no spread
            and no interval then.
        seed: Of the resampling.
    """
    finite = {
        name: [value for value in part if not np.isnan(value)] for name, part in values.items()
    }
    parts = [np.asarray(part, np.float64) for part in finite.values() if part]
    if not parts:
        return NOBODY
    means = np.array([part.mean() for part in parts])
    every = np.concatenate(parts)
    low, high = interval(means, seed)
    return Summary(
        float(means.mean()),
        _deviation(means),
        _deviation(every),
        low,
        high,
        len(parts),
        len(every),
    )


def interval(means: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of patients' means; NaN for one patient.

    Args:
        means: `[patients]`.
        seed: Of the resampling.
    """
    if len(means) < 2 or not np.isfinite(means).all():
        return np.nan, np.nan
    chosen = np.random.default_rng(seed).integers(len(means), size=(RESAMPLES, len(means)))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means[chosen].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 and np.isfinite(values).all() else np.nan

"""Mean, spread and patient-level bootstrap interval of a figure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from medusis_tf.data.shards.labelled_subjects import LabelledSubject

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


class PatientValues:
    """Values of named figures, one for each slice, by patient; NaN for a slice that has none."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, patient: str, figure: str, values: Iterable[float]) -> None:
        """Add the values of some slices of a patient."""
        self._values[figure][patient] += [float(value) for value in values]

    def summaries(self, by_patient: bool = False) -> dict[str, dict[str, Any]]:
        """Figure to its `Summary` as a dictionary, in the order in which figures were added.

        Args:
            by_patient: Whether to tell each patient's mean too, for tests of one method against
                another on the same patients.
        """
        found = {figure: asdict(summarize(values)) for figure, values in self._values.items()}
        if by_patient:
            for figure, summary in found.items():
                summary["by_patient"] = self._means(figure)
        return found

    def _means(self, figure: str) -> dict[str, float]:
        kept = {
            patient: [value for value in values if not np.isnan(value)]
            for patient, values in self._values[figure].items()
        }
        return {patient: float(np.mean(values)) for patient, values in kept.items() if values}


class Measure(Protocol):
    """Collects what one method paints, a volume at a time; memory does not grow with their number.

    A new metric is a file with such a class, and a line in `evaluation/judges.py`.
    """

    def update(self, subject: LabelledSubject, pictures: np.ndarray) -> None:
        """Add a volume.

        Args:
            subject: What was painted.
            pictures: `[slices, height, width]` in [-1, 1].
        """

    def results(self) -> Mapping[str, Any]:
        """What came out, ready for JSON but for NaN and infinity."""

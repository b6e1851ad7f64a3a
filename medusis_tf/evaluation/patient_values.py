"""Figures of slices, kept by patient until they are summarised."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from medusis_tf.metrics.bootstrap import summarize


class PatientValues:
    """Values of named figures, one for each slice, by patient; NaN for a slice that has none."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, patient: str, figure: str, values: Iterable[float]) -> None:
        """Add the values of some slices of a patient."""
        self._values[figure][patient] += [float(value) for value in values]

    def summaries(self) -> dict[str, dict[str, Any]]:
        """Figure to its `Summary` as a dictionary, in the order in which figures were added."""
        return {figure: asdict(summarize(values)) for figure, values in self._values.items()}

    def patient_means(self, figure: str) -> dict[str, float]:
        """Patient to the mean of a figure; patients without it are left out."""
        kept = {
            patient: [value for value in values if not np.isnan(value)]
            for patient, values in self._values[figure].items()
        }
        return {patient: float(np.mean(values)) for patient, values in kept.items() if values}

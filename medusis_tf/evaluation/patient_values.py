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

"""How well the body's outline is seen in the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from medusis_tf.evaluation.judged_subject import JudgedSubject
from medusis_tf.evaluation.patient_values import PatientValues
from medusis_tf.metrics.grey_levels import GreyLevels
from medusis_tf.metrics.outline import outline_agreement


class OutlineMeasure:
    """Outline Dice, and what of the body is painted as air or in an invisible grey.

    Args:
        levels: Which greys of the real images are air, and which tissue.
    """

    def __init__(self, levels: GreyLevels):
        self._levels = levels
        self._values = PatientValues()

    def update(self, subject: JudgedSubject, pictures: np.ndarray) -> None:
        """Add a volume."""
        found = outline_agreement(pictures, subject.label_map, self._levels)
        for name, value in asdict(found).items():
            self._values.add(subject.patient, name, [value])

    def results(self) -> Mapping[str, Any]:
        """Figure to summary; a value for each volume, not for each slice."""
        return self._values.summaries(by_patient=True)

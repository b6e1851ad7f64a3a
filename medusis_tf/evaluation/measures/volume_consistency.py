"""How much neighbouring slices jump, beside the true volumes where there are such."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from medusis_tf.evaluation.judged_subject import JudgedSubject
from medusis_tf.evaluation.patient_values import PatientValues
from medusis_tf.metrics.similarity import to_unit_range
from medusis_tf.metrics.volume_consistency import volume_consistency


class VolumeConsistencyMeasure:
    """Jumps in brightness and of pixels, from slice to slice of a volume."""

    def __init__(self) -> None:
        self._values = PatientValues()

    def update(self, subject: JudgedSubject, pictures: np.ndarray) -> None:
        """Add a volume."""
        found = volume_consistency(to_unit_range(pictures), subject.body, subject.slice_indices)
        self._values.add(subject.patient, "brightness_jump", [found.brightness_jump])
        self._values.add(subject.patient, "pixel_jump", [found.pixel_jump])

    def results(self) -> Mapping[str, Any]:
        """Figure to summary; a value for each volume."""
        return self._values.summaries()

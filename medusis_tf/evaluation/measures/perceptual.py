"""Perceptual distance to the true images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from medusis_tf.evaluation.judged_subject import JudgedSubject
from medusis_tf.evaluation.patient_values import PatientValues
from medusis_tf.metrics.lpips import LPIPS

_BATCH_SIZE = 8


class PerceptualMeasure:
    """LPIPS of each slice, and as the thesis feeds it: [0, 1] where [-1, 1] is expected.

    Args:
        lpips: The network.
    """

    def __init__(self, lpips: LPIPS):
        self._lpips = lpips
        self._values = PatientValues()

    def update(self, subject: JudgedSubject, pictures: np.ndarray) -> None:
        """Add a volume; one without a true image is passed over."""
        if subject.image is None:
            return
        for start in range(0, len(pictures), _BATCH_SIZE):
            pair = [
                np.repeat(np.clip(part[start : start + _BATCH_SIZE, ..., None], -1, 1), 3, axis=-1)
                for part in (pictures, subject.image)
            ]
            halved = [(part + 1) / 2 for part in pair]
            distances = {"lpips": pair, "lpips_thesis_protocol": halved}
            for name, images in distances.items():
                values = self._lpips.distance(*(part.astype(np.float32) for part in images))
                self._values.add(subject.patient, name, values.numpy())

    def results(self) -> Mapping[str, Any]:
        """Figure to summary, and what the weights are."""
        return {**self._values.summaries(), "identity": dict(self._lpips.identity)}

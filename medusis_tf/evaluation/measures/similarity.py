"""Agreement with the true images: on the whole slice, inside the body, and for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medusis_tf.evaluation.judged_subject import JudgedSubject
from medusis_tf.evaluation.patient_values import PatientValues
from medusis_tf.metrics.multiscale_similarity import multiscale_similarity
from medusis_tf.metrics.similarity import Comparison, to_unit_range


class SimilarityMeasure:
    """SSIM, PSNR, RMSE and MAE of each slice, MS-SSIM where the size allows.

    Args:
        class_names: Of ids 0, 1, and so on.
    """

    def __init__(self, class_names: Sequence[str]):
        self._class_names = class_names
        self._slice, self._body = PatientValues(), PatientValues()
        self._classes = [PatientValues() for _ in class_names]

    def update(self, subject: JudgedSubject, pictures: np.ndarray) -> None:
        """Add a volume; one without a true image is passed over."""
        if subject.image is None:
            return
        pairs = zip(
            to_unit_range(pictures), to_unit_range(subject.image), subject.label_map, strict=True
        )
        for picture, true_image, label_map in pairs:
            self._add(subject.patient, picture, true_image, label_map)

    def results(self) -> Mapping[str, Any]:
        """`slice`, `body` and `classes` (by name, those that occur): figure to summary."""
        classes = {
            name: values.summaries()
            for name, values in zip(self._class_names, self._classes, strict=True)
        }
        return {
            "slice": self._slice.summaries(by_patient=True),
            "body": self._body.summaries(by_patient=True),
            "classes": {name: figures for name, figures in classes.items() if figures},
        }

    def _add(
        self, patient: str, picture: np.ndarray, true_image: np.ndarray, label_map: np.ndarray
    ) -> None:
        comparison = Comparison(picture, true_image)
        _add_all(self._slice, patient, comparison.inside(None).figures())
        scales = multiscale_similarity(picture, true_image)
        self._slice.add(patient, "ms_ssim", [scales])
        _add_all(self._body, patient, comparison.inside(label_map != 0).figures())
        for k in np.unique(label_map).tolist():
            _add_all(self._classes[k], patient, comparison.inside(label_map == k).figures())


def _add_all(values: PatientValues, patient: str, figures: Mapping[str, float]) -> None:
    for name, value in figures.items():
        values.add(patient, name, [value])

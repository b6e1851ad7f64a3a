"""What a segmenter finds in the pictures, against the label maps they were painted from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medusis_tf.evaluation.judged_subject import JudgedSubject
from medusis_tf.evaluation.patient_values import PatientValues
from medusis_tf.metrics.confusion import ConfusionMatrix
from medusis_tf.metrics.surface_distance import hausdorff_95

FindClasses = Callable[[JudgedSubject, np.ndarray], np.ndarray]


class SegmentationMeasure:
    """Dice, IoU and confusion over the data set, Dice of volumes, HD95 of slices in mm.

    Background is counted in the confusion matrix only. A class that is in neither of the two is
    left out; one that is in one of them has Dice 0, and no HD95.

    Args:
        class_names: Of ids 0, 1, and so on.
        find_classes: Class ids of a subject's pictures, of their shape.
    """

    def __init__(self, class_names: Sequence[str], find_classes: FindClasses):
        self._names, self._find = class_names, find_classes
        self._matrix = ConfusionMatrix(len(class_names))
        self._dice, self._distances = PatientValues(), PatientValues()

    def update(self, subject: JudgedSubject, pictures: np.ndarray) -> None:
        """Add a volume."""
        found = self._find(subject, pictures)
        volume = ConfusionMatrix(len(self._names))
        volume.update(subject.label_map, found)
        self._matrix.counts += volume.counts
        for k, dice in enumerate(volume.dice.tolist()):
            if k:
                self._dice.add(subject.patient, self._names[k], [dice])
        for wanted, read in zip(subject.label_map, found, strict=True):
            for k in np.intersect1d(wanted, read).tolist():
                if k:
                    distance = hausdorff_95(wanted == k, read == k, subject.spacing_mm)
                    self._distances.add(subject.patient, self._names[k], [distance])

    def results(self) -> Mapping[str, Any]:
        """`mean_dice`, `mean_iou`, `classes`, and `confusion` (rows: label map)."""
        pooled = {"dice": self._matrix.dice, "iou": self._matrix.iou}
        volumes, distances = self._dice.summaries(), self._distances.summaries()
        classes = {
            name: {
                **{figure: float(values[k]) for figure, values in pooled.items()},
                "volume_dice": volumes.get(name),
                "hd95_mm": distances.get(name),
            }
            for k, name in enumerate(self._names)
            if k and not np.isnan(pooled["dice"][k])
        }
        means = {
            f"mean_{figure}": float(np.mean([row[figure] for row in classes.values()]))
            if classes
            else np.nan
            for figure in pooled
        }
        return {
            **means,
            "classes": classes,
            "confusion": {"classes": list(self._names), "pixels": self._matrix.counts.tolist()},
        }

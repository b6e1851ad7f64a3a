"""Scores of a segmenter on real images of patients: Dice and HD95 of each class, in volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medusis_tf.data.batches.tiles import without_gaps
from medusis_tf.metrics.overlap import ConfusionMatrix, hd95


@dataclass(frozen=True)
class ClassScore:
    """Agreement of one class of one patient.

    Attributes:
        dice: Dice of the volume; NaN if the class is neither in the label map nor found.
        hd95_mm: 95th percentile of the Hausdorff distance in the volume; NaN if the class is not
            found, or not in the label map.
        not_found: Whether the class is in the label map, and no voxel of it was found.
    """

    dice: float
    hd95_mm: float
    not_found: bool = False


# Patient, then class name.
Scores = Mapping[str, Mapping[str, ClassScore]]


@dataclass(frozen=True, eq=False)
class TestVolume:
    """The slices of a volume to test on.

    Attributes:
        patient: Patient of the volume.
        label_map: `[slices, height, width]` uint8 class ids.
        image: `[slices, height, width]` in [-1, 1].
        slice_indices: `[slices]`, places of the slices in the volume.
        spacing_mm: Spacing of slices, rows and columns.
    """

    __test__ = False  # pytest collects classes by this name

    patient: str
    label_map: np.ndarray
    image: np.ndarray
    slice_indices: np.ndarray
    spacing_mm: tuple[float, float, float]


def score(
    find: Callable[[np.ndarray], np.ndarray],
    volumes: Iterable[TestVolume],
    class_names: Sequence[str],
) -> dict[str, dict[str, ClassScore]]:
    """Score a segmenter on volumes; several volumes of a patient count as their mean.

    Args:
        find: Returns the class ids `[slices, height, width]` that it finds in images.
        volumes: Volumes with label maps.
        class_names: Names of class ids 0, 1 and so on; 0 is not scored.
    """
    found: dict[str, list[list[ClassScore]]] = {}
    for volume in volumes:
        values = score_volume(find(volume.image), volume, len(class_names))
        found.setdefault(volume.patient, []).append(values)
    return {
        patient: {
            name: _joined([values[k] for values in parts]) for k, name in enumerate(class_names[1:])
        }
        for patient, parts in found.items()
    }


def score_volume(found: np.ndarray, volume: TestVolume, num_classes: int) -> list[ClassScore]:
    """Score the classes from 1 on that were found in a volume.

    Slices that are not in the volume's data set, because they show too little, count as empty.

    Args:
        found: `[slices, height, width]` class ids.
        volume: Volume with its label map.
        num_classes: K, background included.
    """
    matrix = ConfusionMatrix(num_classes)
    matrix.update(volume.label_map, found)
    dense_found, dense_label_map = (
        without_gaps(ids, volume.slice_indices)[0] for ids in (found, volume.label_map)
    )
    return [
        ClassScore(
            float(matrix.dice[k]),
            hd95(dense_found == k, dense_label_map == k, volume.spacing_mm),
            not_found=bool((volume.label_map == k).any() and not (found == k).any()),
        )
        for k in range(1, num_classes)
    ]


def _joined(parts: Sequence[ClassScore]) -> ClassScore:
    """The score of a patient: a class that was found in one of its volumes was found."""
    hd95_mm = _mean([part.hd95_mm for part in parts])
    missed = any(part.not_found for part in parts) and bool(np.isnan(hd95_mm))
    return ClassScore(_mean([part.dice for part in parts]), hd95_mm, missed)


def _mean(values: Sequence[float]) -> float:
    kept = [value for value in values if not np.isnan(value)]
    return float(np.mean(kept)) if kept else np.nan

"""Which class is read for which, over a whole data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from medusis_tf.data.shards.labelled_subjects import LabelledSubject
from medusis_tf.metrics.measure import PatientValues


class ConfusionMatrix:
    """Counts pixels by their class in the label map (rows) and as read (columns).

    Args:
        num_classes: K, background included.
    """

    def __init__(self, num_classes: int):
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def update(self, label_map: np.ndarray, found: np.ndarray) -> None:
        """Add pixels: class ids in the label map, and as read, of one shape.

        Raises:
            ValueError: Shapes differ or an id is not of the table.
        """
        count = len(self.counts)
        if label_map.shape != found.shape:
            raise ValueError(
                "what was read and the label map need one shape. Received: "
                f"{found.shape}, {label_map.shape}"
            )
        for ids in (label_map, found):
            if ids.min(initial=0) < 0 or ids.max(initial=0) >= count:
                raise ValueError(
                    f"class ids must be from 0 to {count - 1}. Received: from {ids.min()} to "
                    f"{ids.max()}"
                )
        pairs = label_map.ravel().astype(np.int64) * count + found.ravel()
        self.counts += np.bincount(pairs, minlength=count**2).reshape(count, count)

    @property
    def dice(self) -> np.ndarray:
        """`[K]` Dice coefficients; NaN for classes that are nowhere in label maps or pictures."""
        return _ratio(2 * self._common, self._true + self._read)

    @property
    def iou(self) -> np.ndarray:
        """`[K]` intersection over union; NaN for classes that are nowhere."""
        return _ratio(self._common, self._true + self._read - self._common)

    @property
    def _common(self) -> np.ndarray:
        return np.diagonal(self.counts)

    @property
    def _true(self) -> np.ndarray:
        return self.counts.sum(axis=1)

    @property
    def _read(self) -> np.ndarray:
        return self.counts.sum(axis=0)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    result = np.full(len(denominator), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def hausdorff_95(first: np.ndarray, second: np.ndarray, spacing_mm: tuple[float, ...]) -> float:
    """HD95 of two masks: of the distances from each border to the other, the 95th percentile.

    Border pixels are those of the mask with a neighbour (4 in a slice, 6 in a volume) outside it;
    beyond the array all is outside. The distances in both directions are pooled, as MedPy does;
    MONAI takes the greater of the two directions' percentiles, which is no less.

    Args:
        first: Bool, any number of axes.
        second: Same shape.
        spacing_mm: Of pixels, along each axis.

    Returns:
        In mm; 0 for equal masks; NaN where a mask is empty, for there is no distance to nothing.

    Raises:
        ValueError: Shapes differ.

    Taha and Hanbury, Metrics for evaluating 3D medical image segmentation, 2015. Checked against
    MedPy (`medpy.metric.binary.hd95`).
    """
    if first.shape != second.shape or first.ndim != len(spacing_mm):
        raise ValueError(
            f"HD95 needs masks of one shape and a spacing for each axis. Received: {first.shape}, "
            f"{second.shape}, {spacing_mm}"
        )
    if not first.any() or not second.any():
        return np.nan
    box = _box(first | second)
    points = [np.argwhere(_border(mask[box])) * spacing_mm for mask in (first, second)]
    distances = [cKDTree(other).query(border)[0] for border, other in (points, points[::-1])]
    return float(np.percentile(np.concatenate(distances), 95))


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    axes = range(mask.ndim)
    sides = (mask.any(axis=tuple(other for other in axes if other != axis)) for axis in axes)
    places = (np.flatnonzero(side) for side in sides)
    return tuple(slice(place[0], place[-1] + 1) for place in places)


def _border(mask: np.ndarray) -> np.ndarray:
    # Nothing beyond the box belongs to a mask, so that what is cut off cannot change the border.
    inner = mask.copy()
    for axis in range(mask.ndim):
        whole, shrunk = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        shrunk[1:] &= whole[:-1]
        shrunk[:-1] &= whole[1:]
        shrunk[[0, -1]] = False
    return mask & ~inner


FindClasses = Callable[[LabelledSubject, np.ndarray], np.ndarray]


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

    def update(self, subject: LabelledSubject, pictures: np.ndarray) -> None:
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

"""Agreement of class masks with label maps: Dice, IoU, HD95 and the confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

from medusis_tf.metrics.measure import PatientValues
from medusis_tf.metrics.metric import Measure, Metric
from medusis_tf.metrics.tables import Column, Content, MetricTable, results_of

if TYPE_CHECKING:
    from medusis_tf.data.shards.labelled_subjects import LabelledSubject


def dice(
    mask: np.ndarray, true_mask: np.ndarray, axis: tuple[int, ...] | None = None
) -> np.ndarray:
    """Dice coefficient of two masks, `2 |A and B| / (|A| + |B|)`.

    Args:
        mask: Bool, any number of axes.
        true_mask: Same shape.
        axis: Axes to sum over; None for all.

    Returns:
        Array of the other axes, a scalar for all axes; NaN where both masks are empty.

    Raises:
        ValueError: Shapes differ.
    """
    common, sizes = _overlap(mask, true_mask, axis)
    return _ratio(2 * common, sizes)


def iou(mask: np.ndarray, true_mask: np.ndarray, axis: tuple[int, ...] | None = None) -> np.ndarray:
    """Intersection over union of two masks. Arguments, result and errors as for `dice`."""
    common, sizes = _overlap(mask, true_mask, axis)
    return _ratio(common, sizes - common)


def hd95(mask: np.ndarray, true_mask: np.ndarray, spacing_mm: Sequence[float]) -> float:
    """95th percentile of the Hausdorff distance of two masks: of the distances between borders.

    Border pixels have a neighbour outside the mask (4 neighbours in a slice, 6 in a volume);
    everything beyond the array is outside. The distances of both directions are pooled, as in
    MedPy. MONAI takes the larger of the two directions' percentiles, which is at least as large.

    Args:
        mask: Bool, any number of axes.
        true_mask: Same shape.
        spacing_mm: Pixel spacing along each axis.

    Returns:
        Distance in mm; 0 for equal masks, NaN if a mask is empty.

    Raises:
        ValueError: Shapes differ.

    Source: Taha and Hanbury, Metrics for evaluating 3D medical image segmentation, 2015. Checked
    against MedPy (`medpy.metric.binary.hd95`).
    """
    if mask.shape != true_mask.shape or mask.ndim != len(spacing_mm):
        raise ValueError(
            "HD95 needs masks of one shape and a spacing for each axis. "
            f"Received: {mask.shape}, {true_mask.shape}, {tuple(spacing_mm)}"
        )
    if not mask.any() or not true_mask.any():
        return np.nan
    box = _bounding_box(mask | true_mask)
    points = [np.argwhere(_border(each[box])) * spacing_mm for each in (mask, true_mask)]
    distances = [cKDTree(other).query(border)[0] for border, other in (points, points[::-1])]
    return float(np.percentile(np.concatenate(distances), 95))


# Tables of more coarse classes show their mean only.
_MAX_COARSE_COLUMNS = 8


class ConfusionMatrix:
    """Pixel counts by class in the label map (rows) and by class found (columns).

    Args:
        num_classes: K, background included.
    """

    def __init__(self, num_classes: int):
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def update(self, label_map: np.ndarray, found: np.ndarray) -> None:
        """Add pixels.

        Args:
            label_map: Class ids of the label map.
            found: Class ids found in the image, same shape.

        Raises:
            ValueError: Shapes differ, or an id is not in the class table.
        """
        count = len(self.counts)
        if label_map.shape != found.shape:
            raise ValueError(
                "label map and found classes must have the same shape. "
                f"Received: {label_map.shape}, {found.shape}"
            )
        for ids in (label_map, found):
            if ids.min(initial=0) < 0 or ids.max(initial=0) >= count:
                raise ValueError(
                    f"class ids must be from 0 to {count - 1}. "
                    f"Received: from {ids.min()} to {ids.max()}"
                )
        pairs = label_map.ravel().astype(np.int64) * count + found.ravel()
        self.counts += np.bincount(pairs, minlength=count**2).reshape(count, count)

    def grouped(self, groups: Sequence[int]) -> ConfusionMatrix:
        """The matrix of groups of classes, each counted at one of its ids.

        Args:
            groups: Id of the group of each class.
        """
        result = ConfusionMatrix(len(self.counts))
        ids = np.asarray(groups)
        np.add.at(result.counts, (ids[:, None], ids[None, :]), self.counts)
        return result

    @property
    def dice(self) -> np.ndarray:
        """`[K]` Dice coefficients; NaN for classes that occur in neither of the two."""
        return _ratio(2 * self._common, self._sizes)

    @property
    def iou(self) -> np.ndarray:
        """`[K]` intersection over union; NaN for classes that occur in neither of the two."""
        return _ratio(self._common, self._sizes - self._common)

    @property
    def _common(self) -> np.ndarray:
        return np.diagonal(self.counts)

    @property
    def _sizes(self) -> np.ndarray:
        return self.counts.sum(axis=1) + self.counts.sum(axis=0)


def _overlap(
    mask: np.ndarray, true_mask: np.ndarray, axis: tuple[int, ...] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels in both masks, and the sum of the sizes of the two."""
    if mask.shape != true_mask.shape:
        raise ValueError(
            f"masks must have the same shape. Received: {mask.shape}, {true_mask.shape}"
        )
    mask, true_mask = mask.astype(bool), true_mask.astype(bool)
    return (mask & true_mask).sum(axis=axis), mask.sum(axis=axis) + true_mask.sum(axis=axis)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    result = np.full(np.shape(denominator), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result[()]


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    axes = range(mask.ndim)
    sides = (mask.any(axis=tuple(other for other in axes if other != axis)) for axis in axes)
    places = (np.flatnonzero(side) for side in sides)
    return tuple(slice(place[0], place[-1] + 1) for place in places)


def _border(mask: np.ndarray) -> np.ndarray:
    # Outside the bounding box nothing belongs to a mask, so cutting to it keeps the border.
    inner = mask.copy()
    for axis in range(mask.ndim):
        whole, shrunk = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        shrunk[1:] &= whole[:-1]
        shrunk[:-1] &= whole[1:]
        shrunk[[0, -1]] = False
    return mask & ~inner


# Returns the class ids found in a subject's images, in their shape.
FindClasses = Callable[["LabelledSubject", np.ndarray], np.ndarray]


@dataclass(frozen=True)
class CoarseSegmenter:
    """A segmenter that finds the coarse classes only, by their ids in the class table."""

    find_classes: FindClasses

    def __call__(self, subject: LabelledSubject, images: np.ndarray) -> np.ndarray:
        """Class ids in a subject's images."""
        return self.find_classes(subject, images)


class SegmentationMeasure:
    """Dice, IoU and confusion of all pixels, Dice of volumes, HD95 of slices in mm.

    Only the confusion matrix counts background. A class that occurs neither in the label maps nor
    in the images is left out. A class that occurs in one of the two has Dice 0 and no HD95.

    With finer classes, Dice is also measured of the coarse ones, so that experiments with other
    finer classes compare. A `CoarseSegmenter` is measured by coarse classes alone.

    Args:
        class_names: Names of class ids 0, 1 and so on.
        find_classes: Segmenter.
        coarse_ids: Id of the coarse class of each class; empty if no class is finer.
        coarse_names: Names of the coarse classes by id.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        find_classes: FindClasses,
        coarse_ids: Sequence[int] = (),
        coarse_names: Mapping[int, str] | None = None,
    ):
        self._names, self._find = list(class_names), find_classes
        self._coarse_ids, self._coarse_names = coarse_ids, coarse_names or {}
        self._is_coarse = bool(coarse_ids) and isinstance(find_classes, CoarseSegmenter)
        if self._is_coarse:
            self._names = [self._coarse_names.get(k, name) for k, name in enumerate(class_names)]
        self._matrix = ConfusionMatrix(len(class_names))
        self._dice, self._distances = PatientValues(), PatientValues()

    def update(self, subject: LabelledSubject, images: np.ndarray, seed: int = 0) -> None:
        """Add a volume."""
        found, label_map = self._find(subject, images), subject.label_map
        if self._is_coarse:
            coarse = np.array(self._coarse_ids, np.uint8)
            found, label_map = coarse[found], coarse[label_map]
        volume = ConfusionMatrix(len(self._names))
        volume.update(label_map, found)
        self._matrix.counts += volume.counts
        for k, value in enumerate(volume.dice.tolist()):
            if k:
                self._dice.add(subject.patient, self._names[k], [value], seed)
        for wanted, read in zip(label_map, found, strict=True):
            for k in np.intersect1d(wanted, read).tolist():
                if k:
                    distance = hd95(wanted == k, read == k, subject.spacing_mm)
                    self._distances.add(subject.patient, self._names[k], [distance], seed)

    def results(self) -> Mapping[str, Any]:
        """`mean_dice`, `mean_iou`, `classes`, and `confusion` (rows: label map).

        With finer classes also `dice_coarse`: the `mean`, and the Dice of all pixels of each coarse
        class in `classes`.
        """
        pooled = {"dice": self._matrix.dice, "iou": self._matrix.iou}
        volumes, distances = self._dice.summaries(), self._distances.summaries()
        classes = {
            name: {
                **{metric: float(values[k]) for metric, values in pooled.items()},
                "volume_dice": volumes.get(name),
                "hd95_mm": distances.get(name),
            }
            for k, name in enumerate(self._names)
            if k and not np.isnan(pooled["dice"][k])
        }
        means = {
            f"mean_{metric}": float(np.mean([row[metric] for row in classes.values()]))
            if classes
            else np.nan
            for metric in pooled
        }
        return {
            **means,
            **self._of_coarse_classes(),
            "classes": classes,
            "confusion": {"classes": list(self._names), "pixels": self._matrix.counts.tolist()},
        }

    def _of_coarse_classes(self) -> Mapping[str, Any]:
        if not self._coarse_ids:
            return {}
        values = self._matrix.grouped(self._coarse_ids).dice
        classes = {
            name: float(values[k])
            for k, name in self._coarse_names.items()
            if k and not np.isnan(values[k])
        }
        mean = float(np.mean(list(classes.values()))) if classes else np.nan
        return {"dice_coarse": {"mean": mean, "classes": classes}}


class SegmentationMetric(Metric):
    """Classes found by each segmenter, in `segmentation/SEGMENTER`."""

    def measures(self, is_model: bool = True) -> Mapping[str, Measure]:
        """One measure for each segmenter; masks were made of the model's own images only."""
        given = self.context.instruments
        segmenters = {**given.segmenters, **(given.masks if is_model else {})}
        return {
            f"segmentation/{name}": SegmentationMeasure(
                self.context.class_names, find, self.context.coarse_ids, self.context.coarse_names
            )
            for name, find in segmenters.items()
        }

    @staticmethod
    def tables(content: Content) -> Iterable[MetricTable]:
        """One table for each segmenter of the model, and one of the coarse classes."""
        found = results_of(content, "segmentation")
        columns = [Column("mean Dice"), Column("mean IoU"), Column("mean HD95 mm", 1)]
        notes = ["of all pixels of the data set, mean over the classes that occur; HD95 of slices"]
        for segmenter in found[0][1] if found else ():
            rows = [(name, _cells(each[segmenter])) for name, each in found if segmenter in each]
            yield MetricTable(f"Classes found by: {segmenter}", columns, rows, notes)
            yield _coarse_table(found, segmenter)


def _coarse_table(found: Sequence[tuple[str, Any]], segmenter: str) -> MetricTable:
    """Dice of the coarse classes; without rows if no class is finer."""
    results = {
        name: each[segmenter]["dice_coarse"]
        for name, each in found
        if "dice_coarse" in each.get(segmenter, {})
    }
    names = list(dict.fromkeys(name for each in results.values() for name in each["classes"]))
    shown = names if len(names) <= _MAX_COARSE_COLUMNS else []
    rows = [
        (name, [each["mean"], *(each["classes"].get(column) for column in shown)])
        for name, each in results.items()
    ]
    notes = [
        "Dice of all pixels, finer classes counted as the coarse ones that they are part of: "
        "compares with experiments that have other finer classes, or none"
    ]
    columns = [Column("mean Dice"), *map(Column, shown)]
    return MetricTable(f"Coarse classes found by: {segmenter}", columns, rows, notes)


def _cells(found: Mapping[str, Any]) -> list[float | None]:
    distances = [row["hd95_mm"]["mean"] for row in found["classes"].values() if row["hd95_mm"]]
    mean = sum(distances) / len(distances) if distances else None
    return [found["mean_dice"], found["mean_iou"], mean]

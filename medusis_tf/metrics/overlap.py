"""Agreement of class masks with label maps: Dice, IoU, HD95 and the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree


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

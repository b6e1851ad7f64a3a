"""95th percentile of the distance between two surfaces (HD95), in mm."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree


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

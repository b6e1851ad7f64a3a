"""95th percentile of the distance between two surfaces (HD95), in mm."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def hausdorff_95(first: np.ndarray, second: np.ndarray, spacing_mm: tuple[float, ...]) -> float:
    """HD95 of two masks: of the distances from each border to the other, the 95th percentile.

    Border pixels are those of the mask with a neighbour (4 in a slice, 6 in a volume) outside it;
    beyond the array all is outside. The distances in both directions are pooled.

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
    box = ndimage.find_objects((first | second).view(np.uint8))[0]
    borders = [_border(mask[box]) for mask in (first, second)]
    distances = [
        ndimage.distance_transform_edt(~other, sampling=spacing_mm)[border]
        for border, other in (borders, borders[::-1])
    ]
    return float(np.percentile(np.concatenate(distances), 95))


def _border(mask: np.ndarray) -> np.ndarray:
    # Nothing beyond the box belongs to a mask, so that what is cut off cannot change the border.
    return mask & ~ndimage.binary_erosion(mask, border_value=0)

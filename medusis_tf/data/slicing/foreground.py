"""Choose slices by their foreground, and find their position in the body."""

from __future__ import annotations

import numpy as np

# Darker pixels, on the scale from -1 to 1, are air.
AIR_BELOW = -0.9


def choose_slices(
    label_slices: np.ndarray | None,
    image_slices: np.ndarray | None,
    minimum_foreground: float,
    skip_ends: int = 0,
) -> np.ndarray:
    """Select the slices with enough foreground.

    Args:
        label_slices: `[slices, rows, columns]` class ids, or None.
        image_slices: Intensities of the same slices in [-1, 1], or None if there are class ids.
        minimum_foreground: Minimum fraction of pixels that are not class 0, and of pixels brighter
            than air.
        skip_ends: Number of slices left out at each end of the volume.

    Returns:
        Indices of the slices, increasing.
    """
    foregrounds = _foregrounds(label_slices, image_slices)
    fractions = np.stack([foreground.mean(axis=(1, 2)) for foreground in foregrounds])
    kept = np.flatnonzero(np.all(fractions >= minimum_foreground, axis=0))
    return kept[(kept >= skip_ends) & (kept < fractions.shape[1] - skip_ends)]


def relative_positions(
    label_slices: np.ndarray | None, image_slices: np.ndarray | None
) -> np.ndarray:
    """Compute the relative position of each slice in the body.

    Args:
        label_slices: `[slices, rows, columns]` class ids, used if given, or None.
        image_slices: Intensities of the same slices in [-1, 1], or None if there are class ids.

    Returns:
        `[slices]` float: 0 for the first slice with foreground, 1 for the last, below 0 or above 1
        outside the body.
    """
    foreground = _foregrounds(label_slices, image_slices)[0]
    present = np.flatnonzero(foreground.any(axis=(1, 2)))
    first, last = (present[0], present[-1]) if len(present) else (0, len(foreground) - 1)
    return (np.arange(len(foreground)) - first) / max(last - first, 1)


def _foregrounds(
    label_slices: np.ndarray | None, image_slices: np.ndarray | None
) -> list[np.ndarray]:
    foregrounds = [] if label_slices is None else [label_slices != 0]
    if image_slices is not None:
        foregrounds.append(image_slices > AIR_BELOW)
    return foregrounds

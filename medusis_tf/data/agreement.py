"""Whether a label map and an image seem to lie where their headers say.

A header with a wrong origin gives two files that are fine and do not fit: classes of the chest over
an image of the pelvis. How much the classes say about the image does not show it, since bone is
bright and air dark everywhere; but then they say far more about it some slices further.
"""

import numpy as np

from medusis_tf.data.grid import Crop
from medusis_tf.data.volume import Volume

_LARGEST_SIDE = 48
_LEAST_OVERLAP = 0.8
_NEAR_SLICES = 3
# Neighbouring slices look alike, other regions do not: on real volumes the right place explains at
# least 1.7 times as much variance as a wrong one (tests/real/test_agreement.py).
_CLEARLY_BETTER = 1.5


def explained_variance(label_map: np.ndarray, image: np.ndarray) -> float | None:
    """Fraction of the image's variance between classes (eta squared), inside the foreground.

    Args:
        label_map: Class ids of any shape, 0 for background.
        image: Same shape, intensities.

    Returns:
        0 to 1; None where fewer than two classes or no varying intensities are there to judge.
    """
    inside = label_map > 0
    ids, values = label_map[inside], image[inside].astype(np.float64)
    counts = np.bincount(ids, minlength=1)
    present = counts > 0
    if np.count_nonzero(present) < 2:
        return None
    total = np.sum((values - values.mean()) ** 2)
    if not total > 0:
        return None
    means = np.bincount(ids, weights=values)[present] / counts[present]
    between = np.sum(counts[present] * (means - values.mean()) ** 2)
    return float(between / total)


def thinned(volume: Volume, crop: Crop) -> np.ndarray:
    """A coarse copy of a volume, cropped in x and y only."""
    x, y, _ = crop.slices
    part = volume.array[x, y]
    step = max(1, -(-max(part.shape[:2]) // _LARGEST_SIDE))
    return part[::step, ::step].copy()


def misplacement_warning(
    label_map: np.ndarray, image: np.ndarray, shift: int, slice_mm: float
) -> tuple[str, ...]:
    """One sentence if the label map fits the image far better some axial slices further, else none.

    Args:
        label_map: `[x, y, z]` class ids, from `thinned`.
        image: `[x, y, other z]` numbers at the same x and y.
        shift: Axial slice of the image that the label map's lowest lies on, by their headers.
        slice_mm: Between axial slices.
    """
    image = np.clip(image, *np.percentile(image, [0.5, 99.5]))
    here = _at(label_map, image, shift)
    least = _LEAST_OVERLAP * min(label_map.shape[2], image.shape[2])
    lowest, highest = int(least) - label_map.shape[2], image.shape[2] - int(least)
    found = {other: _at(label_map, image, other) for other in range(lowest, highest + 1)}
    best = max(found, key=lambda other: found[other] or 0.0)
    there = found[best]
    if here is None or there is None or abs(best - shift) < _NEAR_SLICES:
        return ()
    if there < _CLEARLY_BETTER * here:
        return ()
    return (
        f"label map and image do not seem to lie where their headers say: {best - shift:+d} axial "
        f"slices ({(best - shift) * slice_mm:+.0f} mm) further, the classes would explain "
        f"{100 * there:.0f}% of the image's variance instead of {100 * here:.0f}%. Check both "
        "affines; if the voxels match by index, set data.pair_by=voxel",
    )


def _at(label_map: np.ndarray, image: np.ndarray, shift: int) -> float | None:
    start, stop = max(0, shift), min(image.shape[2], shift + label_map.shape[2])
    if stop <= start:
        return None
    part = label_map[:, :, start - shift : stop - shift]
    return explained_variance(part, image[:, :, start:stop])

"""Check whether a label map and an image are where their headers say.

A wrong origin in a header gives two valid files that do not fit: classes of the chest over an image
of the pelvis. How well the classes explain the image does not reveal it, because bone is bright and
air is dark everywhere. But the classes then explain the image far better at another position.

This works for label maps of most of what an image shows. A few small classes fit elsewhere by
chance: on real volumes, a quarter of the label maps with less than 5% of foreground would cause a
false warning, and none with more than 10%.
"""

import numpy as np

from medusis_tf.data.shards.spread import step_within
from medusis_tf.data.volumes.grid import Crop
from medusis_tf.data.volumes.volume import Volume

_MAX_SIDE = 48
_MIN_OVERLAP = 0.8
_NEAR_SLICES = 3
# Label maps with a smaller fraction of foreground, or with fewer slices of it, are not checked.
_MIN_FOREGROUND = 0.1
_MIN_SLICES = 8
# Of a longer label map, every second or third slice, and so on, is compared first.
_MAX_SLICES_COMPARED = 100
# Neighbouring slices look alike, other regions do not: on real volumes, the right position explains
# at least 1.7 times as much variance as a wrong one (tests/real/test_agreement.py).
_CLEARLY_BETTER = 1.5


def explained_variance(label_map: np.ndarray, image: np.ndarray) -> float | None:
    """Fraction of the image's variance between classes (eta squared), inside the foreground.

    Args:
        label_map: Class ids of any shape, 0 for background.
        image: Intensities of the same shape.

    Returns:
        0 to 1; None with fewer than two classes or with constant intensities.
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
    """Copy a volume with fewer voxels along x and y, cropped along x and y only."""
    x, y, _ = crop.slices
    part = volume.array[x, y]
    step = step_within(_MAX_SIDE, max(part.shape[:2]))
    return part[::step, ::step].copy()


def misplacement_warning(
    label_map: np.ndarray, image: np.ndarray, shift: int, slice_mm: float
) -> tuple[str, ...]:
    """One sentence if the label map fits the image far better at another height, else none.

    Args:
        label_map: `[x, y, z]` class ids from `thinned`.
        image: `[x, y, other z]` intensities at the same x and y.
        shift: Axial slice of the image at the lowest slice of the label map, by their headers.
        slice_mm: Spacing of the axial slices.
    """
    foreground = label_map > 0
    if np.count_nonzero(foreground.any(axis=(0, 1))) < _MIN_SLICES:
        return ()
    if foreground.mean() < _MIN_FOREGROUND:
        return ()
    image = np.clip(image, *np.percentile(image, [0.5, 99.5])).astype(np.float32)
    # Slices first: what is compared is contiguous in memory.
    label_map, image = (np.ascontiguousarray(np.moveaxis(a, 2, 0)) for a in (label_map, image))
    here = _at(label_map, image, shift)
    best = _best_shift(label_map, image)
    there = _at(label_map, image, best)
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


def _best_shift(label_map: np.ndarray, image: np.ndarray) -> int:
    """The shift at which the classes explain the image best, among those with most overlap."""
    least = int(_MIN_OVERLAP * min(len(label_map), len(image)))
    lowest, highest = least - len(label_map), len(image) - least
    step = step_within(_MAX_SLICES_COMPARED, len(label_map))

    def best_of(shifts: range, step: int) -> int:
        return max(shifts, key=lambda shift: _at(label_map, image, shift, step) or 0.0)

    coarse = best_of(range(lowest, highest + 1, step), step)
    near = range(max(lowest, coarse - step + 1), min(highest, coarse + step - 1) + 1)
    return best_of(near, 1)


def _at(label_map: np.ndarray, image: np.ndarray, shift: int, step: int = 1) -> float | None:
    """Explained variance of every `step`-th slice, with the label map moved by `shift`."""
    start, stop = max(0, shift), min(len(image), shift + len(label_map))
    if stop <= start:
        return None
    part = label_map[start - shift : stop - shift : step]
    return explained_variance(part, image[start:stop:step])

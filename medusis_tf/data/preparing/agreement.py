"""Whether a label map and an image seem to lie where their headers say.

A header with a wrong origin gives two files that are fine and do not fit: classes of the chest over
an image of the pelvis. How much the classes say about the image does not show it, since bone is
bright and air dark everywhere; but then they say far more about it some slices further.

That holds for label maps of most of what an image shows. A few small classes fit somewhere else by
chance: on real volumes, a quarter of the label maps with less than a twentieth of foreground would
be warned of, and none with more than a tenth.
"""

import numpy as np

from medusis_tf.data.volumes.grid import Crop
from medusis_tf.data.volumes.volume import Volume

_LARGEST_SIDE = 48
_LEAST_OVERLAP = 0.8
_NEAR_SLICES = 3
# With less foreground than this part of the volume, or in fewer slices, nothing is said.
_LEAST_FOREGROUND = 0.1
_LEAST_SLICES = 8
# Of a longer label map every second slice, or third, and so on, is compared first.
_SLICES_COMPARED = 100
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
    foreground = label_map > 0
    if np.count_nonzero(foreground.any(axis=(0, 1))) < _LEAST_SLICES:
        return ()
    if foreground.mean() < _LEAST_FOREGROUND:
        return ()
    image = np.clip(image, *np.percentile(image, [0.5, 99.5])).astype(np.float32)
    # Slices first: what is compared lies together in memory.
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
    """Where the classes say most about the image, of all places where most of both overlap."""
    least = int(_LEAST_OVERLAP * min(len(label_map), len(image)))
    lowest, highest = least - len(label_map), len(image) - least
    step = -(-len(label_map) // _SLICES_COMPARED)

    def best_of(shifts: range, step: int) -> int:
        return max(shifts, key=lambda shift: _at(label_map, image, shift, step) or 0.0)

    coarse = best_of(range(lowest, highest + 1, step), step)
    near = range(max(lowest, coarse - step + 1), min(highest, coarse + step - 1) + 1)
    return best_of(near, 1)


def _at(label_map: np.ndarray, image: np.ndarray, shift: int, step: int = 1) -> float | None:
    """Explained variance of every `step`-th slice, the label map moved by `shift`."""
    start, stop = max(0, shift), min(len(image), shift + len(label_map))
    if stop <= start:
        return None
    part = label_map[start - shift : stop - shift : step]
    return explained_variance(part, image[start:stop:step])

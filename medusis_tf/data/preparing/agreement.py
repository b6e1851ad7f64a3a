"""Check whether a label map and an image are where their headers say.

A wrong origin in a header gives two valid files that do not fit: classes of the chest over an image
of the pelvis. How well the classes explain the image does not reveal it, because bone is bright and
air is dark everywhere. But the classes then explain the image far better at another position.

This works for label maps of most of what an image shows. A few small classes fit elsewhere by
chance: on real volumes, a quarter of the label maps with less than 5% of foreground would cause a
false warning, and none with more than 10%.

A CT that refines a label map must be that of its body, and in Hounsfield units (`check_ct`), in
training as in synthesis.
"""

import dataclasses
from itertools import product

import numpy as np

from medusis_tf.data.labels.body import fill_holes
from medusis_tf.data.labels.refinement import on_grid
from medusis_tf.data.shards.spread import step_within
from medusis_tf.data.volumes.grid import Crop
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError

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
# A CT of any body has fat and denser than muscle; ids of a label map and scaled values do not.
_FAT_HU, _BONE_HU = -50.0, 300.0
_AIR_HU = -500.0
_MAX_CT_SIDE = 96
# On 14 real CTs of legs, the classes explained 85 to 97% of the right CT, best of all mirrorings. A
# label map of one of two legs explains less of both. A mirrored CT is said, or refused.
_LEAST_EXPLAINED, _MIRRORED, _PLAINLY_MIRRORED = 0.5, 1.2, 2.0
# The body of the right CT held all of the foreground, that of another patient 69 to 88% (12 of 13).
_LEAST_INSIDE, _MOST_INSIDE = 0.5, 0.9
_DIRECTIONS = ("left-right", "front-back", "head-foot")


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


def check_hounsfield(ct: Volume) -> tuple[str, ...]:
    """One sentence if a CT has no air, else none.

    Args:
        ct: Volume of a CT.

    Raises:
        UserError: It is no CT in Hounsfield units, but a label map or scaled.
    """
    ends = (float(end) * ct.slope + ct.intercept for end in (ct.array.min(), ct.array.max()))
    low, high = sorted(ends)
    if low > _FAT_HU and high < _BONE_HU:
        raise UserError(
            f"{ct.path} is no CT in Hounsfield units: its values lie between {low:g} and {high:g}. "
            "Check that it is the CT, and not a label map or a scaled image."
        )
    if low <= _AIR_HU:
        return ()
    return (
        f"the CT {ct.path.name} has no air: its lowest value is {low:g}. Check that it is in "
        "Hounsfield units, in which air is -1000 and water 0",
    )


def check_ct(label_map: Volume, ct: Volume, body_hu: float) -> tuple[str, ...]:
    """Check that a CT is that of a label map: its body is the foreground, and not mirrored.

    Args:
        label_map: Class ids, 0 for background; of any number of slices.
        ct: Volume of a CT, on any grid.
        body_hu: Lowest value inside the body.

    Returns:
        One sentence for each suspicious property.

    Raises:
        UserError: It is plainly another, or mirrored.
    """
    found, thin = check_hounsfield(ct), _thin_label_map(label_map)
    hounsfield, covered, _ = on_grid(ct, thin)
    foreground = thin.array > 0
    if covered is not None:
        foreground &= covered
    if not foreground.any():
        return found
    body = fill_holes((hounsfield >= body_hu).transpose(2, 1, 0)).transpose(2, 1, 0)
    inside = float(body[foreground].mean())
    found += _mirrored(thin.array, hounsfield, ct, label_map)
    if inside >= _MOST_INSIDE:
        return found
    text = (
        f"{100 * inside:.0f}% of the foreground of the label map lies in the body of the CT "
        f"{ct.path.name}. Check that it is the CT of this label map, and both affines"
    )
    if inside < _LEAST_INSIDE:
        raise UserError(f"{label_map.path}: only {text}.")
    return (*found, f"only {text}")


def _thin_label_map(volume: Volume) -> Volume:
    sides = volume.shape
    limits = (_MAX_CT_SIDE, _MAX_CT_SIDE, _MAX_SLICES_COMPARED)
    steps = [step_within(limit, side) for limit, side in zip(limits, sides, strict=True)]
    array = np.ascontiguousarray(volume.array[:: steps[0], :: steps[1], :: steps[2]])
    return dataclasses.replace(volume, array=array, affine=volume.affine @ np.diag([*steps, 1.0]))


def _mirrored(
    array: np.ndarray, hounsfield: np.ndarray, ct: Volume, label_map: Volume
) -> tuple[str, ...]:
    """One sentence if a label map explains a CT far better when the CT is mirrored, else none."""
    values = np.clip(hounsfield, -1000, 1000)
    # With the background as a class: the outline of the body counts, and flips change no total.
    ids = array.astype(np.int64) + 1
    explained = {
        flips: explained_variance(ids, np.flip(values, flips)) or 0.0
        for flips in (tuple(np.flatnonzero(f).tolist()) for f in product((0, 1), repeat=3))
    }
    here, best = explained[()], max(explained, key=lambda flips: explained[flips])
    there = explained[best]
    if there < max(_LEAST_EXPLAINED, _MIRRORED * here):
        return ()
    text = (
        f"label map and CT {ct.path.name} do not seem to lie where their headers say: mirrored "
        f"{' and '.join(_DIRECTIONS[axis] for axis in best)}, the classes would explain "
        f"{100 * there:.0f}% of the CT's variance instead of {100 * here:.0f}%. Check both affines"
    )
    if there > _PLAINLY_MIRRORED * here:
        raise UserError(f"{label_map.path}: {text}.")
    return (text,)

"""Compare the voxel grids of volumes, and crop two of them to what they share."""

import numpy as np

from medusis_tf.data.nifti import Volume
from medusis_tf.errors import UserError

_TOLERANCE_VOXELS = 0.02


def same_grid(a: Volume, b: Volume) -> bool:
    """Whether two volumes have one shape and voxel centres within 0.02 voxels of each other."""
    if a.shape != b.shape or not _same_axes(a, b):
        return False
    shift = _whole_shift(a, b)
    return shift is not None and not shift.any()


def crop_to_overlap(a: Volume, b: Volume) -> tuple[Volume, Volume]:
    """Crop two volumes to their common extent, by index arithmetic and without resampling.

    Args:
        a: First volume.
        b: Second volume: same spacing and direction, its origin a whole number of voxels away.

    Returns:
        Both, cropped to one shape.

    Raises:
        UserError: The grids differ in anything else, or do not overlap.
    """
    if not _same_axes(a, b):
        raise _incompatible(a, b, "spacing or direction differ")
    shift = _whole_shift(a, b)
    if shift is None:
        raise _incompatible(a, b, "origins differ by a fraction of a voxel")
    start = np.maximum(0, shift)
    stop = np.minimum(a.shape, shift + b.shape)
    if np.any(stop <= start):
        raise _incompatible(a, b, "volumes do not overlap")
    return _crop(a, start, stop), _crop(b, start - shift, stop - shift)


def _crop(volume: Volume, start: np.ndarray, stop: np.ndarray) -> Volume:
    x, y, z = (slice(int(low), int(high)) for low, high in zip(start, stop, strict=True))
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ start
    return Volume(volume.array[x, y, z], affine, volume.path)


def _same_axes(a: Volume, b: Volume) -> bool:
    # Steps may differ by as much as adds up to the tolerance over the longer of the volumes.
    steps = np.linalg.solve(a.affine[:3, :3], b.affine[:3, :3]) - np.eye(3)
    drift = np.abs(steps) @ np.maximum(a.shape, b.shape)
    return bool(np.all(drift <= _TOLERANCE_VOXELS))


def _whole_shift(a: Volume, b: Volume) -> np.ndarray | None:
    """Where the first voxel of `b` lies, in whole voxels of `a`; None if between voxels."""
    shift = np.linalg.solve(a.affine[:3, :3], b.affine[:3, 3] - a.affine[:3, 3])
    whole = np.rint(shift)
    if np.any(np.abs(shift - whole) > _TOLERANCE_VOXELS):
        return None
    return whole.astype(int)


def _incompatible(a: Volume, b: Volume, why: str) -> UserError:
    shift_mm = np.round(b.affine[:3, 3] - a.affine[:3, 3], 3).tolist()
    described = [
        f"{volume.path}: shape {volume.shape}, spacing {np.round(volume.spacing_mm, 4).tolist()} mm"
        for volume in (a, b)
    ]
    return UserError(
        f"volumes of one subject must lie on one voxel grid, but their {why}. "
        f"Received: {'; '.join(described)}; shift between origins {shift_mm} mm. "
        "Resample one of them onto the grid of the other."
    )

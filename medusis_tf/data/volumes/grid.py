"""Voxel grids: comparison of two grids, and their common part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medusis_tf.data.volumes.volume import Volume, spacing_of
from medusis_tf.errors import UserError

_TOLERANCE_VOXELS = 0.02


@dataclass(frozen=True, eq=False)
class Grid:
    """The voxel positions of a volume, without its values.

    Attributes:
        shape: Number of voxels along x, y and z, LPS order.
        affine: `[4, 4]`, from LPS indices to RAS+ millimetres.
        path: Source file, for error messages.
        axes: Axis order of the file, such as `RAS`.
        has_stored_order: Whether the order of the voxels is a property of the file; see `Volume`.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    path: Path
    axes: str = "LPS"
    has_stored_order: bool = True

    @classmethod
    def of(cls, volume: Volume) -> Grid:
        """The grid of a volume."""
        axes, has_order = volume.axes, volume.has_stored_order
        return cls(volume.shape, volume.affine, volume.path, axes, has_order)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along x, y and z."""
        return spacing_of(self.affine)


def same_grid(a: Grid, b: Grid) -> bool:
    """Whether two grids have the same shape, and voxel centres within 0.02 voxels."""
    if a.shape != b.shape or not _same_axes(a, b):
        return False
    shift = _whole_shift(a, b)
    return shift is not None and not shift.any()


def on_one_lattice(a: Grid, b: Grid) -> bool:
    """Whether voxel centres of two grids, continued beyond their ends, are the same."""
    return _same_axes(a, b) and _whole_shift(a, b) is not None


def crop_to_overlap(a: Grid, b: Grid) -> tuple[Crop, Crop]:
    """Compute the crops of two volumes to their overlap, by index arithmetic only.

    Args:
        a: First grid.
        b: Second grid, with the same spacing and direction and an origin that is a whole number
            of voxels away.

    Returns:
        One crop for each grid; both give the same shape and position.

    Raises:
        UserError: The grids differ in any other way, or do not overlap.
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
    return Crop.between(start, stop), Crop.between(start - shift, stop - shift)


@dataclass(frozen=True)
class Crop:
    """An index range along x, y and z; `stop` is exclusive."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]

    @classmethod
    def whole(cls, shape: tuple[int, int, int]) -> Crop:
        """The crop that keeps a whole volume of this shape."""
        return cls((0, 0, 0), shape)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Index of the crop into an array `[x, y, z]`."""
        x, y, z = (slice(low, high) for low, high in zip(self.start, self.stop, strict=True))
        return x, y, z

    @classmethod
    def between(cls, start: np.ndarray, stop: np.ndarray) -> Crop:
        """The crop between two index arrays `[3]`."""
        (x, y, z), (x_end, y_end, z_end) = start.tolist(), stop.tolist()
        return cls((int(x), int(y), int(z)), (int(x_end), int(y_end), int(z_end)))

    def of(self, volume: Volume) -> Volume:
        """The cropped volume, a view."""
        return replace(volume, array=volume.array[self.slices], affine=self._moved(volume.affine))

    def of_grid(self, grid: Grid) -> Grid:
        """The cropped grid."""
        x, y, z = (stop - start for start, stop in zip(self.start, self.stop, strict=True))
        return replace(grid, shape=(x, y, z), affine=self._moved(grid.affine))

    def _moved(self, affine: np.ndarray) -> np.ndarray:
        moved = affine.copy()
        moved[:3, 3] += affine[:3, :3] @ np.array(self.start)
        return moved


def _same_axes(a: Grid, b: Grid) -> bool:
    # The difference in spacing may add up to the tolerance over the longer volume.
    steps = np.linalg.solve(a.affine[:3, :3], b.affine[:3, :3]) - np.eye(3)
    drift = np.abs(steps) @ np.maximum(a.shape, b.shape)
    return bool(np.all(drift <= _TOLERANCE_VOXELS))


def _whole_shift(a: Grid, b: Grid) -> np.ndarray | None:
    """Index in `a` of the first voxel of `b`, or None if it lies between voxels."""
    shift = np.linalg.solve(a.affine[:3, :3], b.affine[:3, 3] - a.affine[:3, 3])
    whole = np.rint(shift)
    if np.any(np.abs(shift - whole) > _TOLERANCE_VOXELS):
        return None
    # Larger shifts than any volume may not fit an integer.
    return np.clip(whole, -(2**31), 2**31).astype(int)


def _incompatible(a: Grid, b: Grid, why: str) -> UserError:
    shift_mm = np.round(b.affine[:3, 3] - a.affine[:3, 3], 3).tolist()
    described = [
        f"{grid.path}: shape {grid.shape}, spacing {np.round(grid.spacing_mm, 4).tolist()} mm"
        for grid in (a, b)
    ]
    remedy = "Resample one of them onto the grid of the other"
    if a.shape == b.shape:
        remedy += "; or, if the voxels do match and a header is wrong, set data.pair_by=voxel"
    return UserError(
        f"volumes of one subject must lie on one voxel grid, but their {why}. "
        f"Received: {'; '.join(described)}; shift between origins {shift_mm} mm. {remedy}."
    )

"""Move a volume onto another voxel grid: spacing, direction and origin may all differ."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
from scipy import ndimage

from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError

# Rounded sizes of two grids of one field of view leave parts of a voxel uncovered.
_MISSING_VOXELS = 0.7
# Positions halfway between two voxels belong to one of them, whatever the last digit says.
_TIE = 1e-3


def onto_grid(volume: Volume, grid: Grid, *, is_label_map: bool) -> Volume:
    """Sample a volume at the voxels of a grid.

    Args:
        volume: Image or label map.
        grid: Wanted voxel positions.
        is_label_map: Whether ids are sampled, by nearest neighbour; intensities are interpolated
            linearly.

    Returns:
        The volume on the grid, with a warning that says what was done. Intensities are float32
        stored numbers, with the same slope and intercept.

    Raises:
        UserError: The volume does not overlap the grid, or shows only a part of it.
    """
    steps = np.linalg.solve(volume.affine, grid.affine)
    _check_coverage(volume, grid, steps)
    sampled = ndimage.affine_transform(
        volume.array,
        steps[:3, :3],
        steps[:3, 3] - (_TIE if is_label_map else 0.0),
        grid.shape,
        output=volume.array.dtype if is_label_map else np.float32,
        order=0 if is_label_map else 1,
        mode="nearest",
    )
    line = (
        f"its {_sides(volume.shape)} voxels of {_sides(volume.spacing_mm)} mm (axes {volume.axes}) "
        f"are resampled onto the {_sides(grid.shape)} of {_sides(grid.spacing_mm)} mm of "
        f"{grid.path.name}"
    )
    return replace(volume, array=sampled, affine=grid.affine, warnings=(*volume.warnings, line))


def _check_coverage(volume: Volume, grid: Grid, steps: np.ndarray) -> None:
    ends = [(0, count - 1) for count in grid.shape]
    corners = np.array(list(product(*ends))) @ steps[:3, :3].T + steps[:3, 3]
    low, high = corners.min(0), corners.max(0)
    last = np.array(volume.shape) - 0.5
    if np.any(high < -0.5) or np.any(low > last):
        raise UserError(
            f"{volume.path} does not overlap {grid.path}: "
            f"{_described(Grid.of(volume))}; {_described(grid)}. Check that both show the same "
            "patient, and their headers."
        )
    missing = np.maximum(-0.5 - low, high - last)
    if np.any(missing > _MISSING_VOXELS):
        mm = np.round(np.maximum(missing, 0) * volume.spacing_mm, 1).tolist()
        raise UserError(
            f"{volume.path} shows only a part of what is needed of {grid.path}: up to {mm} mm are "
            "missing at one end of its axes x, y and z. Write the whole volume."
        )


def _described(grid: Grid) -> str:
    first = grid.affine[:3, 3]
    last = (grid.affine @ [*(count - 1 for count in grid.shape), 1])[:3]
    low, high = (
        np.round(end(first, last)).astype(int).tolist() for end in (np.minimum, np.maximum)
    )
    return f"{grid.path.name} lies between {low} and {high} mm"


def _sides(sides: tuple[float, ...]) -> str:
    return " x ".join(f"{side:.4g}" for side in sides)

"""Match the volumes of a subject voxel by voxel, as they are stored (`pair_by: voxel`).

Every reader turns its volume to LPS by the header of the file. If a header is wrong, so is the
turn. Voxels that match in the files match only after all volumes are turned by one header.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from nibabel import orientations

from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError

_SAME_SIZE = 0.01


def common_header(grids: Iterable[Grid]) -> Grid:
    """Choose the header that turns all volumes: the first that is not a placeholder.

    A placeholder has voxels of 1 mm along the axes of space, as files have that were written
    without a header. If all are, the first is taken.
    """
    grids = list(grids)
    return next((grid for grid in grids if not _is_placeholder(grid)), grids[0])


def turned_like(volume: Volume, reference: Grid) -> Volume:
    """Turn a volume by the header of another one, voxel by voxel as stored.

    Args:
        volume: Volume, turned to LPS by its own header.
        reference: Grid with the header to use instead.

    Returns:
        A view at the position of the reference, with a warning if the headers differ in axes or
        voxel sizes.

    Raises:
        UserError: The stored shapes differ, or the axes do and one volume has no stored order.
    """
    own = Grid.of(volume)
    turned_grid(own, reference)
    stored = orientations.apply_orientation(volume.array, _turn("LPS", own.axes))
    array = orientations.apply_orientation(stored, _turn(reference.axes, "LPS"))
    sizes = np.divide(_as_stored(own, own.spacing_mm), _as_stored(reference, reference.spacing_mm))
    warnings = volume.warnings
    if own.axes != reference.axes or np.abs(sizes - 1).max() > _SAME_SIZE:
        warnings += (
            f"Its header ({_described(own)}) differs from that of {reference.path} "
            f"({_described(reference)}), which is used, because of data.pair_by=voxel.",
        )
    return replace(
        volume, array=array, affine=reference.affine, axes=reference.axes, warnings=warnings
    )


def turned_grid(grid: Grid, reference: Grid) -> Grid:
    """Check that a grid matches another one voxel by voxel, and return it at that position.

    Raises:
        UserError: As for `turned_like`.
    """
    if grid.axes != reference.axes and not (grid.has_stored_order and reference.has_stored_order):
        raise UserError(
            f"data.pair_by=voxel cannot match {grid.path} ({grid.axes}) with {reference.path} "
            f"({reference.axes}): DICOM and PNG have no order of voxels of their own, so volumes "
            "with other axes may be mirrored. Store both in one format, such as NIfTI, with the "
            "same axes, or correct the wrong header and use data.pair_by=world."
        )
    if _as_stored(grid, grid.shape) != _as_stored(reference, reference.shape):
        raise UserError(
            f"data.pair_by=voxel needs volumes of the same shape. Received: {reference.path}: "
            f"{reference.shape}, axes {reference.axes}; {grid.path}: {grid.shape}, axes "
            f"{grid.axes}."
        )
    return replace(grid, shape=reference.shape, affine=reference.affine, axes=reference.axes)


def _turn(axes: str, other_axes: str) -> np.ndarray:
    start, end = (orientations.axcodes2ornt(tuple(order)) for order in (axes, other_axes))
    return orientations.ornt_transform(start, end)


def _as_stored(grid: Grid, values: tuple[float, ...]) -> tuple[float, ...]:
    """Values of x, y and z, such as the shape, in the order of the stored axes."""
    targets = _turn("LPS", grid.axes)[:, 0].astype(int)
    return tuple(values[source] for source in np.argsort(targets))


def _is_placeholder(grid: Grid) -> bool:
    steps = np.abs(grid.affine[:3, :3])
    return bool(np.allclose(np.sort(steps.ravel()), [0] * 6 + [1] * 3, atol=1e-6))


def _described(grid: Grid) -> str:
    return f"axes {grid.axes}, voxels of {' x '.join(f'{s:.4g}' for s in grid.spacing_mm)} mm"

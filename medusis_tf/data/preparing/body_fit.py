"""Measure whether the slices hold the whole body, and how large the body is in them.

A body that is wider than the field of view, or off the centre of its volume, is cropped. Bodies of
different sizes in label maps and images, such as brains and whole heads, make every loss that
compares outlines ask for the wrong one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medusis_tf.data.labels.body import image_body
from medusis_tf.data.shards.spread import step_within
from medusis_tf.data.slicing.slices import SliceGrid
from medusis_tf.data.volumes.volume import Volume

# The body of an image is searched in a coarse copy of at most this size.
_MAX_SLICES = 64
_MAX_SIDE = 128
# Smaller cropped fractions are not reported. The body of an image is less exact: its outline
# depends on noise and bedding.
_MIN_CROPPED_LABEL_MAP = 0.002
_MIN_CROPPED_IMAGE = 0.01


@dataclass(frozen=True)
class Coverage:
    """How much of a body the slices hold.

    Attributes:
        outside: Fraction of the body that lies outside the slices.
        needed_mm: Height and width that a slice must cover to hold all of the body.
        body_mm: Height and width of the body itself, which may be off the centre.
    """

    outside: float
    needed_mm: tuple[float, float]
    body_mm: tuple[float, float]


def label_map_coverage(array: np.ndarray, grid: SliceGrid) -> Coverage:
    """Measure how much of the foreground of a label map lies on the grid.

    Args:
        array: `[x, y, z]` class ids, 0 for background.
        grid: Grid of the slices.
    """
    view = grid.upright(array)
    return _coverage(view, grid, view.shape)


def image_coverage(
    volume: Volume, grid: SliceGrid, scale: Callable[[np.ndarray], np.ndarray]
) -> Coverage:
    """Measure how much of the body in an image lies on the grid.

    The body is searched only in volumes that are larger than the grid.

    Args:
        volume: The image.
        grid: Grid of the slices.
        scale: Maps `[slices, rows, columns]` float32 intensities to [-1, 1].
    """
    view = grid.upright(volume.array)
    volume_mm = view.shape[1] * grid.voxel_mm[0], view.shape[2] * grid.voxel_mm[1]
    height, width = field_of_view_mm(grid)
    if volume_mm[0] <= height and volume_mm[1] <= width and not any(grid.offset):
        return Coverage(0.0, volume_mm, volume_mm)
    body, step = coarse_body(volume, grid, scale)
    return _coverage(body, grid, view.shape, step)


def coarse_body(
    volume: Volume, grid: SliceGrid, scale: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, int]:
    """Find the body of an image in a coarse copy.

    Args:
        volume: The image.
        grid: Grid of the slices.
        scale: Maps `[slices, rows, columns]` float32 intensities to [-1, 1].

    Returns:
        Mask of some slices, with every `step`-th row and column; and the step.
    """
    coarse, step = _coarse(grid.upright(volume.array))
    values = coarse.astype(np.float32) * np.float32(volume.slope) + np.float32(volume.intercept)
    return image_body(scale(values)), step


def image_area_mm2(slices: np.ndarray, pixel_mm: tuple[float, float]) -> float | None:
    """Median area of the body in the slices of an image, holes filled; None without slices.

    Args:
        slices: `[slices, rows, columns]` in [-1, 1].
        pixel_mm: Spacing of rows and of columns.
    """
    if len(slices) == 0:
        return None
    coarse, step = _coarse(slices)
    return mask_area_mm2(image_body(coarse), (pixel_mm[0] * step, pixel_mm[1] * step))


def mask_area_mm2(masks: np.ndarray, pixel_mm: tuple[float, float]) -> float | None:
    """Median area of the masks of a body; None without slices.

    Args:
        masks: `[slices, rows, columns]` bool.
        pixel_mm: Spacing of rows and of columns.
    """
    if len(masks) == 0:
        return None
    pixels = float(np.median(np.count_nonzero(masks, axis=(1, 2))))
    return round(pixels * pixel_mm[0] * pixel_mm[1], 1)


def is_cropped(outside: float, is_label_map: bool) -> bool:
    """Whether a fraction `outside` of a body, in a label map or an image, is worth reporting."""
    return outside >= (_MIN_CROPPED_LABEL_MAP if is_label_map else _MIN_CROPPED_IMAGE)


def cropping_warning(coverage: Coverage, grid: SliceGrid, is_label_map: bool) -> tuple[str, ...]:
    """One sentence if the slices crop the body noticeably, else none.

    Args:
        coverage: Measured coverage.
        grid: Grid of the slices.
        is_label_map: Whether a label map was measured, else an image.
    """
    if not is_cropped(coverage.outside, is_label_map):
        return ()
    what = "the foreground of the label map" if is_label_map else "the body in the image"
    height, width = field_of_view_mm(grid)
    needed, body = (
        f"{size[0]:.0f} x {size[1]:.0f} mm" for size in (coverage.needed_mm, coverage.body_mm)
    )
    text = (
        f"{100 * coverage.outside:.2g}% of {what} lies outside the grid of the slices, which "
        f"covers {height:.0f} x {width:.0f} mm around the centre of the "
        f"{'body' if any(grid.offset) else 'volume'}: {needed} are needed"
    )
    if coverage.body_mm[0] <= height and coverage.body_mm[1] <= width:
        text += (
            f". The body itself has {body}, but lies off the centre: "
            "data.centre=foreground holds it"
        )
    return (text,)


def field_of_view_mm(grid: SliceGrid) -> tuple[float, float]:
    """Height and width that a slice covers, also with native pixels."""
    (height, width), (row_mm, column_mm) = grid.size, grid.pixel_mm
    return height * row_mm, width * column_mm


def _coarse(view: np.ndarray) -> tuple[np.ndarray, int]:
    """Some of `[slices, rows, columns]` with every `step`-th row and column, and the step."""
    step = step_within(_MAX_SIDE, max(view.shape[1:]))
    return view[:: step_within(_MAX_SLICES, len(view)), ::step, ::step], step


def _coverage(body: np.ndarray, grid: SliceGrid, shape: tuple[int, ...], step: int = 1) -> Coverage:
    """Coverage of the nonzero pixels of `[slices, rows, columns]`.

    Args:
        body: Every `step`-th row and column of some slices of a volume.
        grid: Grid of the slices.
        shape: Number of slices, rows and columns of the volume.
        step: Step between rows and between columns.
    """
    total = np.count_nonzero(body)
    if total == 0:
        return Coverage(0.0, (0.0, 0.0), (0.0, 0.0))
    kept, needed, size = [], [], []
    for axis, covered_mm in enumerate(field_of_view_mm(grid)):
        voxel_mm = grid.voxel_mm[axis]
        indices = np.arange(body.shape[axis + 1]) * step
        centres = (indices + 0.5 - shape[axis + 1] / 2 - grid.offset[axis]) * voxel_mm
        # Up to half a voxel of tolerance: native pixels of an odd and an even size differ by it.
        inside = np.flatnonzero(np.abs(centres) < (covered_mm + voxel_mm) / 2 - 1e-6)
        kept.append(slice(inside[0], inside[-1] + 1) if len(inside) else slice(0, 0))
        occupied = centres[np.any(body, axis=(0, 2 - axis))]
        needed.append(float(2 * np.abs(occupied).max() + step * voxel_mm))
        size.append(float(np.ptp(occupied) + step * voxel_mm))
    outside = 1 - np.count_nonzero(body[:, kept[0], kept[1]]) / total
    return Coverage(outside, (needed[0], needed[1]), (size[0], size[1]))

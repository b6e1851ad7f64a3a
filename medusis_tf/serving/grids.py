"""The slices in which a label map is painted, compared with those of the training."""

from __future__ import annotations

from dataclasses import replace
from math import ceil, prod

import numpy as np

from medusis_tf.data.preparing.body_fit import is_cropped, label_map_coverage
from medusis_tf.data.slicing.resampling import AxisSampling
from medusis_tf.data.slicing.slices import SliceGrid
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError
from medusis_tf.serving.metadata import ModelMetadata

# 2048 x 2048 pixels in a slice, and 2 GB of float32 in a volume.
MAX_SLICE_PIXELS = 2**22
MAX_PIXELS = 2**29
_SAME_SPACING = 0.01
# A model of native pixels was trained on a range of pixel sizes.
_SIMILAR_SPACING = 0.25
# Volumes are resampled along their axis only if it matters: each time, images become smoother.
_SIMILAR_SLICES = 0.1


def painting_grid(label_map: Volume, metadata: ModelMetadata) -> SliceGrid:
    """The slices in which a model paints a label map: as in training, larger for a larger body.

    A model of native pixels paints native pixels too, unless they differ by more than a quarter
    from those of the training: then they are resampled.

    Args:
        label_map: Class ids, `[x, y, z]`.
        metadata: Metadata of the model.

    Raises:
        UserError: The slices would be too large.
    """
    grid = _covering(label_map, metadata)
    count = painted_slices(grid, metadata)
    if prod(grid.size) > MAX_SLICE_PIXELS or prod(grid.size) * count > MAX_PIXELS:
        raise UserError(
            f"{label_map.path} is too large to paint: {count} slices of "
            f"{_size(grid.size)} pixels of {_size(grid.pixel_mm)} mm; the limits are "
            f"{MAX_SLICE_PIXELS} pixels in a slice and {MAX_PIXELS} in all. Its voxels are "
            f"{_size(label_map.spacing_mm)} mm: if that is wrong, correct the voxel size or the "
            "unit of length in its header. Otherwise crop it."
        )
    return grid


def _covering(label_map: Volume, metadata: ModelMetadata) -> SliceGrid:
    size, stride, axis = metadata.image_size, metadata.stride, metadata.axis
    spacing = _spacing(label_map, metadata)
    if not metadata.is_centred:
        return SliceGrid.covering(label_map, size, spacing, stride, axis)
    least = SliceGrid(size, spacing, label_map.shape, label_map.spacing_mm, axis)
    body_mm = label_map_coverage(label_map.array, least).body_mm
    missing = [
        max(0, ceil(round(body / pixel - count, 6)))
        for body, pixel, count in zip(body_mm, least.pixel_mm, size, strict=True)
    ]
    height, width = (
        count + -(-more // stride) * stride for count, more in zip(size, missing, strict=True)
    )
    return replace(least, size=(height, width)).centred_on(least.upright(label_map.array))


def painted_slices(grid: SliceGrid, metadata: ModelMetadata) -> int:
    """Number of slices that a model paints for a grid, resampled along the axis if it must be."""
    if metadata.slice_mm is None or not _is_resampled(grid, metadata):
        return grid.num_slices
    return max(1, round(grid.num_slices * grid.slice_mm / metadata.slice_mm))


def _is_resampled(grid: SliceGrid, metadata: ModelMetadata) -> bool:
    learned = metadata.slice_mm
    if metadata.volumes is None or learned is None:
        return False
    return _differ((grid.slice_mm,), (learned,), _SIMILAR_SLICES)


def sampled_across(
    label_slices: np.ndarray, grid: SliceGrid, metadata: ModelMetadata
) -> tuple[np.ndarray, AxisSampling | None]:
    """The slices that a model of volumes paints: as far apart as those of its training.

    Args:
        label_slices: `[slices, height, width]`, on a grid.
        grid: The grid.
        metadata: Metadata of the model.

    Returns:
        Class ids of the slices to paint, and the sampling of these at the slices of the grid, for
        `sampled_back`; the same slices and None if they fit, or if the model paints slices.

    Raises:
        UserError: All foreground lies between the slices to paint.
    """
    learned = metadata.slice_mm
    if learned is None or not _is_resampled(grid, metadata):
        return label_slices, None
    count = painted_slices(grid, metadata)
    across = AxisSampling(count, learned, grid.num_slices, grid.slice_mm)
    found = label_slices[across.nearest]
    if not found.any():
        raise UserError(
            f"the foreground of the label map is too thin for {metadata.title}, which paints "
            f"slices that are {learned:.4g} mm apart."
        )
    return found, AxisSampling(grid.num_slices, grid.slice_mm, count, learned)


def sampled_back(painted: np.ndarray, shown: np.ndarray, back: AxisSampling) -> np.ndarray:
    """Sample painted slices at the slices of the volume.

    The ends of the body must not fade to air: beyond them, the nearest painted slice goes on.

    Args:
        painted: `[slices, height, width]`.
        shown: `[count]`, ascending places of the slices that were painted.
        back: From `sampled_across`.
    """
    middle = (shown[1:] + shown[:-1] + 1) // 2
    nearest = shown[np.searchsorted(middle, np.arange(len(painted)), "right")]
    return back.linear(painted[nearest], 0)


def grid_lines(label_map: Volume, metadata: ModelMetadata) -> tuple[str, ...]:
    """One sentence if a label map is resampled, and one if its body exceeds the training slices.

    Args:
        label_map: Class ids, `[x, y, z]`.
        metadata: Metadata of the model.
    """
    spacing = _spacing(label_map, metadata)
    trained = SliceGrid(
        metadata.image_size, spacing, label_map.shape, label_map.spacing_mm, metadata.axis
    )
    return (
        *_resampling(label_map, trained, metadata),
        *_resampling_across(trained, metadata),
        *_body(label_map, trained, metadata),
    )


def _resampling_across(trained: SliceGrid, metadata: ModelMetadata) -> tuple[str, ...]:
    if not _is_resampled(trained, metadata):
        return ()
    return (
        f"its slices, {trained.slice_mm:.4g} mm apart, are resampled to those of the training, "
        f"{metadata.slice_mm:.4g} mm apart, and back",
    )


def _resampling(label_map: Volume, trained: SliceGrid, metadata: ModelMetadata) -> tuple[str, ...]:
    if trained.spacing_mm is None or not _differ(
        trained.voxel_mm, trained.spacing_mm, _SAME_SPACING
    ):
        return ()
    return (
        f"its {_size(label_map.shape)} voxels of {_size(label_map.spacing_mm)} mm (axes "
        f"{label_map.axes}) are resampled to the {metadata.axis} slices of the training, with "
        f"pixels of {_size(trained.spacing_mm)} mm, and back",
    )


def _body(label_map: Volume, trained: SliceGrid, metadata: ModelMetadata) -> tuple[str, ...]:
    if metadata.is_centred:
        trained = trained.centred_on(trained.upright(label_map.array))
    coverage = label_map_coverage(label_map.array, trained)
    if not is_cropped(coverage.outside, is_label_map=True):
        return ()
    height, width = (count * mm for count, mm in zip(trained.size, trained.pixel_mm, strict=True))
    grown = painting_grid(label_map, metadata)
    fits = coverage.body_mm[0] <= height and coverage.body_mm[1] <= width
    why = "lies off the centre of" if fits else "is larger than"
    return (
        f"its body, {coverage.body_mm[0]:.0f} x {coverage.body_mm[1]:.0f} mm, {why} the field of "
        f"view of the training, {height:.0f} x {width:.0f} mm: it is painted in slices of "
        f"{_size(grown.size)} instead of {_size(trained.size)} pixels, larger than the model saw "
        "in training",
    )


def _spacing(label_map: Volume, metadata: ModelMetadata) -> tuple[float, float] | None:
    """Spacing of the pixels to paint; None for those of the label map."""
    if metadata.spacing_mm is not None or metadata.voxel_mm is None:
        return metadata.spacing_mm
    axis = metadata.axis
    own = SliceGrid((1, 1), None, label_map.shape, label_map.spacing_mm, axis).voxel_mm
    learned = SliceGrid((1, 1), None, (1, 1, 1), metadata.voxel_mm, axis).voxel_mm
    return learned if _differ(own, learned, _SIMILAR_SPACING) else None


def _differ(a: tuple[float, ...], b: tuple[float, ...], tolerance: float) -> bool:
    return any(abs(one / other - 1) > tolerance for one, other in zip(a, b, strict=True))


def _size(sides: tuple[float, ...]) -> str:
    return " x ".join(f"{side:.4g}" if isinstance(side, float) else str(side) for side in sides)

"""Read DICOM segmentation objects with highdicom. Needs the extra `dicom`.

Implements DICOM PS3.3 A.51: BINARY, FRACTIONAL (from one half on) and LABELMAP segmentations.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.dicom_files import dicom_errors, import_pydicom
from medusis_tf.data.volumes.grid import Crop, Grid, crop_to_overlap, on_one_lattice
from medusis_tf.data.volumes.segment_masks import SegmentMasks
from medusis_tf.data.volumes.volume import axis_codes, lps_grid, to_lps
from medusis_tf.errors import UserError

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_seg(path: Path, config: ReadingConfig, series: Grid | None = None) -> SegmentMasks:
    """Open the segments of a file; their names are the segment labels.

    Args:
        path: File of a segmentation.
        config: Reading options.
        series: Grid of the series that it belongs to, for masks on that grid. None for the grid of
            the segmentation, from its first to its last frame. Slices without a frame are empty.

    Raises:
        UserError: highdicom is missing, or the segments do not lie on one regular 3-D grid, or
            they have more voxels than allowed.
    """
    with dicom_errors(path):
        seg = _opened(path, series)
        geometry = seg.get_volume_geometry()
        if geometry is None:
            raise UserError(
                f"{path} has segments that do not lie on one regular grid. If it has frames for "
                "some slices only, put it into the folder of its series, and give that folder. "
                "Otherwise convert it to NIfTI."
            )
        shape = _columns_first(geometry.spatial_shape)
        affine, step = _affine(geometry, shape[2])
        numbers = tuple(int(number) for number in seg.segment_numbers)
        labels = [str(seg.get_segment_description(number).segment_label) for number in numbers]
    if prod(shape) > config.maximum_voxels:
        raise UserError(
            f"{path} claims {prod(shape)} voxels; the limit is {config.maximum_voxels}. "
            "Crop it, or raise data.reading.maximum_voxels."
        )

    def mask(index: int) -> np.ndarray:
        with dicom_errors(path):
            volume = seg.get_volume(segment_numbers=[numbers[index]])
            found = np.asarray(volume.array)[..., 0] >= 0.5
        return to_lps(found[::step].transpose(2, 1, 0), affine)[0]

    axes = axis_codes(affine)
    grid = Grid(*lps_grid(shape, affine), path, axes, has_stored_order=False)
    segments = SegmentMasks(path, grid, tuple(labels), mask, [])
    return segments if series is None else _on_series(segments, series)


def _on_series(segments: SegmentMasks, series: Grid) -> SegmentMasks:
    """The segments on the grid of their series; on their own, with a warning, if it is another."""
    own, whole = None, None
    if on_one_lattice(segments.grid, series):
        own, whole = crop_to_overlap(segments.grid, series)
    if whole is None or own != Crop.whole(segments.grid.shape):
        warning = f"It does not lie on the voxels of {series.path}, and keeps a grid of its own."
        return replace(segments, warnings=[*segments.warnings, warning])

    def mask(index: int) -> np.ndarray:
        placed = np.zeros(series.shape, bool)
        placed[whole.slices] = segments.mask(index)
        return placed

    return replace(segments, grid=series, mask=mask)


def _opened(path: Path, series: Grid | None) -> Any:
    seg = _import_highdicom().seg
    if series is None:
        return seg.segread(path)
    data = import_pydicom().dcmread(path)
    # A few frames alone do not state how far apart the slices of the series are.
    for shared in data.get("SharedFunctionalGroupsSequence") or []:
        for orientation, measures in zip(
            shared.get("PlaneOrientationSequence") or [],
            shared.get("PixelMeasuresSequence") or [],
            strict=False,
        ):
            if "SpacingBetweenSlices" not in measures:
                rows, columns = np.reshape(
                    np.asarray(orientation.ImageOrientationPatient, float), [2, 3]
                )
                normal = _TO_RAS[:3, :3] @ np.cross(rows, columns)
                axis = np.abs(normal @ (series.affine[:3, :3] / series.spacing_mm)).argmax()
                measures.SpacingBetweenSlices = series.spacing_mm[int(axis)]
    return seg.Segmentation.from_dataset(data, copy=False)


def _columns_first(shape: Any) -> tuple[int, int, int]:
    slices, rows, columns = (int(side) for side in shape)
    return columns, rows, slices


def _affine(geometry: Any, num_slices: int) -> tuple[np.ndarray, int]:
    """RAS+ affine of `[column, row, slice]`, and the step between slices to get them in its order.

    highdicom has LPS and `[slice, row, column]`. Slices follow their normal, as in `dicom`.
    """
    affine, step = np.array(geometry.affine, float), 1
    affine[:, :3] = affine[:, [2, 1, 0]]
    if np.linalg.det(affine[:3, :3]) < 0:
        affine[:, 3] += (num_slices - 1) * affine[:, 2]
        affine[:, 2], step = -affine[:, 2], -1
    return _TO_RAS @ affine, step


def _import_highdicom() -> Any:
    try:
        return importlib.import_module("highdicom")
    except ImportError:
        raise UserError(
            "reading DICOM segmentations needs highdicom. Install it: "
            "pip install 'medusis_tf[dicom]'."
        ) from None

"""Read DICOM segmentation objects with highdicom. Needs the extra `dicom`.

Implements DICOM PS3.3 A.51: BINARY, FRACTIONAL (from one half on) and LABELMAP segmentations.
"""

from __future__ import annotations

import importlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.dicom_files import dicom_errors
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.segment_masks import SegmentMasks
from medusis_tf.data.volumes.volume import axis_codes, lps_grid, to_lps
from medusis_tf.errors import UserError

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_seg(path: Path, config: ReadingConfig) -> SegmentMasks:
    """Open the segments of a file; their names are the segment labels.

    Args:
        path: File of a segmentation.
        config: Reading options.

    Raises:
        UserError: highdicom is missing, or the segments do not lie on one regular 3-D grid.
    """
    with dicom_errors(path):
        seg = _import_highdicom().seg.segread(path)
        geometry = seg.get_volume_geometry()
        if geometry is None:
            raise UserError(
                f"{path} has segments that do not lie on one regular grid. Convert it to NIfTI."
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
    return SegmentMasks(path, grid, tuple(labels), mask, [])


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

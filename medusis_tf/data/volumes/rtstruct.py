"""Read radiotherapy structure sets (RTSTRUCT) as masks on the grid of an image.

Implements DICOM PS3.3 C.8.8.6 (ROI contours): closed planar contours, of which an inner one cuts a
hole. rt-utils, the usual library, has had no release since 2023 and needs OpenCV.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from skimage.draw import polygon2mask

from medusis_tf.data.volumes.dicom_files import dicom_errors, import_pydicom
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.segment_masks import SegmentMasks
from medusis_tf.errors import UserError

_TO_RAS = np.array([-1.0, -1.0, 1.0])
# A contour lies in a plane of voxels if its points are this close to it, in voxels.
_FLAT = 0.3


def read_rtstruct(path: Path, grid: Grid) -> SegmentMasks:
    """Open the regions of interest of a structure set.

    Args:
        path: File of the structure set.
        grid: Grid of the image that it was drawn on.

    Raises:
        UserError: pydicom is missing, or the file cannot be read or has no contours.
    """
    with dicom_errors(path):
        data = import_pydicom().dcmread(path)
        named = {
            int(roi.ROINumber): str(roi.ROIName) for roi in data.get("StructureSetROISequence", [])
        }
        contours = {
            int(roi.ReferencedROINumber): [
                (str(contour.ContourGeometricType), _points(contour, grid))
                for contour in roi.get("ContourSequence") or []
            ]
            for roi in data.get("ROIContourSequence", [])
        }
    if not any(contours.values()):
        raise UserError(f"{path} has no contours. Export the structure set again.")
    numbers = [number for number in named if contours.get(number)]
    names = tuple(named[number] for number in numbers)
    warnings: list[str] = []
    if empty := [named[number] for number in named if number not in numbers]:
        warnings.append(f"It has structures without contours: {', '.join(empty[:10])}.")

    def mask(index: int) -> np.ndarray:
        drawn, problems = _draw(path, names[index], contours[numbers[index]], grid)
        warnings.extend(problem for problem in problems if problem not in warnings)
        return drawn

    return SegmentMasks(path, grid, names, mask, warnings)


def _points(contour: Any, grid: Grid) -> np.ndarray:
    """`[points, 3]`, in voxels of the grid."""
    points = np.asarray(contour.get("ContourData") or [], float).reshape(-1, 3) * _TO_RAS
    return np.linalg.solve(grid.affine[:3, :3], (points - grid.affine[:3, 3]).T).T


def _draw(
    path: Path, name: str, contours: list[tuple[str, np.ndarray]], grid: Grid
) -> tuple[np.ndarray, list[str]]:
    """The mask of one structure, and warnings."""
    mask = np.zeros(grid.shape, bool)
    polygons = [
        points for kind, points in contours if kind.startswith("CLOSED") and len(points) > 2
    ]
    problems = []
    if len(polygons) < len(contours):
        problems.append(f"{name}: points and open lines are left out.")
    outside, planes = 0, set()
    across = _across(path, name, polygons)
    for points in polygons:
        plane = int(np.floor(points[:, across].mean() + 0.5))
        if not 0 <= plane < grid.shape[across]:
            outside += 1
            continue
        planes.add(plane)
        view = np.moveaxis(mask, across, 0)[plane]
        view ^= polygon2mask(view.shape, np.delete(points, across, axis=1))
    if outside:
        problems.append(f"{name}: {outside} of {len(polygons)} contours lie outside the image.")
    if planes and len(planes) < max(planes) - min(planes) + 1:
        gaps = max(planes) - min(planes) + 1 - len(planes)
        problems.append(f"{name}: {gaps} slices between its contours have none, and stay empty.")
    return mask, problems


def _across(path: Path, name: str, polygons: list[np.ndarray]) -> int:
    """The axis of the grid that the contours are perpendicular to."""
    if not polygons:
        return 2
    spread = np.max([np.ptp(points, axis=0) for points in polygons], axis=0)
    if spread.min() > _FLAT:
        raise UserError(
            f"{path}: the contours of {name} do not lie in the slices of the image: they spread "
            f"over {spread.min():.2g} voxels. Give the series that they were drawn on."
        )
    return int(spread.argmin())

"""Resampling with SimpleITK, and with scikit-image as nnU-Net does, for `benchmarks.peers`.

Runs in the environment of the peers. The conversion of arrays to images of SimpleITK, which a user
may need too, is not timed.
"""

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from skimage.transform import resize

from benchmarks.peer_tasks.resampling_ours import SPACING_MM, oblique_grid
from benchmarks.peer_worker import Task

# Sampling with the sides of a voxel as its area, as in our slices.
_IDENTITY = np.eye(3)


def prepare(settings: dict[str, Any]) -> tuple[dict[str, Task], dict[str, Any]]:
    """Read the volumes, and compare the results with those of the other side.

    Args:
        settings: Values of `benchmarks.peer_cases.SIZES`, and the `folder` of shared files.
    """
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(len(os.sched_getaffinity(0)))
    folder, side, shape = Path(settings["folder"]), settings["side"], settings["volume"]
    arrays = {name: np.load(folder / f"{name}.npy") for name in ("labels", "slices", "image")}
    pixel = [shape[axis] * SPACING_MM[axis] / side for axis in (0, 1)]
    grids = {
        "volume": _grid(shape, SPACING_MM, [0, 0, 0]),
        # The outer edges are those of the volume.
        "slices": _grid(
            [side, side, shape[2]],
            [*pixel, SPACING_MM[2]],
            [(pixel[axis] - SPACING_MM[axis]) / 2 for axis in (0, 1)] + [0],
        ),
        "oblique": oblique_grid(tuple(shape)),
    }
    labels, image = (as_image(arrays[name], grids["volume"]) for name in ("labels", "image"))
    slices = as_image(arrays["slices"], grids["slices"])
    plane = shape[1], shape[0]
    functions = {
        "to_slices": partial(resample, labels, grids["slices"], sitk.sitkNearestNeighbor),
        "to_volume": partial(resample, slices, grids["volume"], sitk.sitkLinear),
        "oblique": partial(resample, image, grids["oblique"], sitk.sitkLinear),
        "to_slices_skimage": partial(resize_slices, arrays["labels"], (side, side), 0),
        "to_volume_skimage": partial(resize_slices, arrays["slices"], plane, 1),
    }
    facts = {
        f"{name}_differs_at": difference(
            function(), np.load(folder / f"expected_{name.removesuffix('_skimage')}.npy")
        )
        for name, function in functions.items()
    }
    return dict(functions), facts


def as_image(array: np.ndarray, grid: dict[str, Any]) -> sitk.Image:
    """Image of an array `[z, y, x]` on a grid."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(each) for each in grid["spacing"]])
    image.SetOrigin([float(each) for each in grid["origin"]])
    return image


def resample(image: sitk.Image, grid: dict[str, Any], interpolator: int) -> np.ndarray:
    """`[z, y, x]` of an image on a grid; linear results are float32."""
    is_linear = interpolator == sitk.sitkLinear
    found = sitk.Resample(
        image,
        [int(each) for each in grid["size"]],
        sitk.Transform(),
        interpolator,
        [float(each) for each in grid["origin"]],
        [float(each) for each in grid["spacing"]],
        np.ravel(grid["direction"]).tolist(),
        0.0,
        sitk.sitkFloat32 if is_linear else sitk.sitkUnknown,
        is_linear,  # beyond the outermost centres, the nearest values go on
    )
    return sitk.GetArrayViewFromImage(found).copy()


def resize_slices(slices: np.ndarray, size: tuple[int, int], order: int) -> np.ndarray:
    """Resize each slice, as nnU-Net does for volumes with thick slices."""
    found = np.empty((len(slices), *size), slices.dtype)
    for index, each in enumerate(slices):
        found[index] = resize(
            each, size, order, mode="edge", preserve_range=True, anti_aliasing=False
        )
    return found


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Share of the pixels that differ, by more than 0.001 of the range for intensities."""
    tolerance = 0 if expected.dtype.kind in "ui" else 1e-3 * np.ptp(expected)
    return float(np.mean(np.abs(found.astype(float) - expected) > tolerance))


def _grid(size: list[int], spacing: Any, origin: list[float]) -> dict[str, Any]:
    return {"size": size, "spacing": spacing, "origin": origin, "direction": _IDENTITY}

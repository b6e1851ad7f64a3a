"""Our resampling of volumes to slices and back, and onto other grids, for `benchmarks.peers`."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer_worker import Task

SPACING_MM = (0.8, 0.8, 2.0)
_TILT_DEGREES = 10.0


def prepare(settings: dict[str, Any]) -> tuple[dict[str, Task], dict[str, Any]]:
    """Write a label map, slices and an image, and what they become.

    Args:
        settings: Values of `benchmarks.peer_cases.SIZES`, and the `folder` of shared files.
    """
    from benchmarks.label_maps import made_label_maps
    from medusis_tf.data.slicing.slices import SliceGrid
    from medusis_tf.data.volumes.grid import Grid
    from medusis_tf.data.volumes.regridding import onto_grid
    from medusis_tf.data.volumes.volume import Volume

    folder, side, shape = Path(settings["folder"]), settings["side"], tuple(settings["volume"])
    plane = made_label_maps(max(shape[:2]), 31, 1)[0][: shape[1], : shape[0]]
    # As read from a file: x varies fastest.
    labels = np.asfortranarray(np.broadcast_to(plane.T[..., np.newaxis], shape))
    random = np.random.default_rng(0)
    slices = random.uniform(-1, 1, (shape[2], side, side)).astype(np.float32)
    image = np.asfortranarray(random.integers(0, 1000, shape).astype(np.int16))
    pixel_mm = shape[1] * SPACING_MM[1] / side, shape[0] * SPACING_MM[0] / side
    grid = SliceGrid((side, side), pixel_mm, shape, SPACING_MM)
    volume = Volume(image, ras(np.eye(3), SPACING_MM, np.zeros(3)), Path("volume.nii.gz"))
    oblique = oblique_grid(shape)
    target = Grid(tuple(oblique["size"]), ras(**_arrays(oblique)), Path("oblique.nii.gz"))
    tasks: dict[str, Task] = {
        "to_slices": partial(grid.label_slices, labels),
        "to_volume": partial(grid.from_slices, slices),
        "oblique": partial(onto_grid, volume, target, is_label_map=False),
    }
    arrays = {
        "labels": labels.T,
        "slices": slices,
        "image": image.T,
        "expected_to_slices": grid.label_slices(labels),
        "expected_to_volume": grid.from_slices(slices).T,
        "expected_oblique": onto_grid(volume, target, is_label_map=False).array.T,
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return tasks, {"spacing_mm": SPACING_MM, "pixel_mm": pixel_mm}


def oblique_grid(shape: tuple[int, ...]) -> dict[str, Any]:
    """A tilted grid of half the volume's sides, in its middle.

    Returns:
        `size` `[3]`, and in LPS millimetres `direction` `[3, 3]`, `spacing` `[3]` and `origin`
        `[3]`. The volume has its first voxel at the origin.
    """
    angle = np.deg2rad(_TILT_DEGREES)
    cosine, sine = np.cos(angle), np.sin(angle)
    direction = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    size, spacing = [side // 2 for side in shape], np.multiply(SPACING_MM, 0.9)
    middle = np.multiply(SPACING_MM, np.subtract(shape, 1)) / 2
    origin = middle - direction @ (spacing * np.subtract(size, 1) / 2)
    return {"size": size, "direction": direction, "spacing": spacing, "origin": origin}


def ras(direction: np.ndarray, spacing: Any, origin: np.ndarray) -> np.ndarray:
    """Affine from indices to RAS+ millimetres, of a grid in LPS millimetres."""
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = direction * np.asarray(spacing), origin
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def _arrays(grid: dict[str, Any]) -> dict[str, Any]:
    return {name: grid[name] for name in ("direction", "spacing", "origin")}

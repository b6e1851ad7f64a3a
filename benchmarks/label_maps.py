"""Label maps for the benchmarks of networks, from a file or synthetic.

The cost of a generator depends on the number of pixels near class boundaries.
"""

from pathlib import Path

import numpy as np
from scipy import ndimage

_REGIONS = 45
_SPADE_REACH = 2  # two 3x3 convolutions see 5x5 pixels


def made_label_maps(size: int, num_classes: int, batch_size: int) -> np.ndarray:
    """Smooth regions of random classes within an ellipse, similar to a slice of the abdomen.

    Returns:
        `[batch_size, size, size]` uint8 ids from 0, background, to `num_classes - 1`.
    """
    return np.stack([_made(size, num_classes, seed) for seed in range(batch_size)])


def _made(size: int, num_classes: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    angle = rng.uniform(0, 2 * np.pi, _REGIONS)
    radius = np.sqrt(rng.uniform(0, 1, _REGIONS))
    centres = np.stack([0.7 * radius * np.sin(angle), 0.85 * radius * np.cos(angle)])
    bends = [ndimage.gaussian_filter(rng.normal(size=(size, size)), size / 24) for _ in range(2)]
    row_bent, column_bent = (
        place + 0.06 * bend / bend.std() for place, bend in zip((row, column), bends, strict=True)
    )
    distance = (row_bent[..., None] - centres[0]) ** 2 + (column_bent[..., None] - centres[1]) ** 2
    classes = rng.integers(1, num_classes, _REGIONS)
    inside = (row / 0.75) ** 2 + (column / 0.9) ** 2 < 1
    return np.where(inside, classes[distance.argmin(axis=-1)], 0).astype(np.uint8)


def label_maps_of_file(path: Path, size: int, num_classes: int, batch_size: int) -> np.ndarray:
    """Slices spread evenly over the foreground of a volume, scaled to fit.

    Ids are renumbered from 0 for background; ids above `num_classes - 1` become one class.

    Args:
        path: NIfTI label map.
        size: Rows and columns of the result, by nearest-neighbour resampling.
        num_classes: Number of classes with background.
        batch_size: Number of slices.

    Returns:
        `[batch_size, size, size]` uint8.
    """
    from medusis_tf.data.volumes.nifti import read_label_map

    volume = read_label_map(path)
    occupied = np.flatnonzero(volume.array.any(axis=(0, 1)))
    places = (2 * np.arange(batch_size) + 1) * len(occupied) // (2 * batch_size)
    ids = np.unique(volume.array)
    slices = volume.array[:, :, occupied[places]].T  # [slice, y, x]
    numbered = np.minimum(np.searchsorted(ids, slices), num_classes - 1)
    spacing = np.array(volume.spacing_mm[1::-1])
    return _fitted(numbered.astype(np.uint8), spacing, size)


def _fitted(slices: np.ndarray, spacing: np.ndarray, size: int) -> np.ndarray:
    extent = np.array(slices.shape[1:]) * spacing
    pixel = extent.max() / size
    places = []
    for axis in range(2):
        millimetres = (np.arange(size) + 0.5 - size / 2) * pixel + extent[axis] / 2
        places.append(np.floor(millimetres / spacing[axis]).astype(int))
    inside = [(p >= 0) & (p < n) for p, n in zip(places, slices.shape[1:], strict=True)]
    clipped = [np.clip(p, 0, n - 1) for p, n in zip(places, slices.shape[1:], strict=True)]
    picked = slices[:, clipped[0]][:, :, clipped[1]]
    return np.where(inside[0][:, None] & inside[1], picked, 0).astype(np.uint8)


def has_mixed_neighbourhood(label_maps: np.ndarray) -> np.ndarray:
    """Pixels with more than one class in the 5x5 receptive field of a SPADE; padding is a class.

    Args:
        label_maps: `[batch, height, width]`.

    Returns:
        `[batch, height, width]` bool.
    """
    width = 2 * _SPADE_REACH + 1
    padding = [(0, 0), (_SPADE_REACH, _SPADE_REACH), (_SPADE_REACH, _SPADE_REACH)]
    padded = np.pad(label_maps.astype(np.int32), padding, constant_values=-1)
    window = (1, width, width)
    mixed = ndimage.minimum_filter(padded, window) != ndimage.maximum_filter(padded, window)
    return mixed[:, _SPADE_REACH:-_SPADE_REACH, _SPADE_REACH:-_SPADE_REACH]


def distinct_neighbourhoods(label_map: np.ndarray) -> int:
    """Number of distinct 3x3 neighbourhoods of a map `[height, width]`; padding is a class.

    A 3x3 convolution of the map has this number of distinct responses.
    """
    padded = np.pad(label_map.astype(np.int16), 1, constant_values=-1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).reshape(-1, 9)
    return len(np.unique(np.ascontiguousarray(windows).view("V18")))


def boundary_share(label_maps: np.ndarray) -> float:
    """Share of pixels with a mixed neighbourhood at full resolution."""
    return float(has_mixed_neighbourhood(label_maps).mean())

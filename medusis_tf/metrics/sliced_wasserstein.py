"""Sliced Wasserstein distance of patches on Laplacian pyramids."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from medusis_tf.metrics.reservoir import Reservoir

PATCH = 7
PATCHES_PER_SLICE = 64
DESCRIPTORS = 8192
DIRECTIONS = 256
SMALLEST_SIDE = 16
_TAPS = np.array([1, 4, 6, 4, 1]) / 16


class PyramidPatches:
    """Patches of 7x7 pixels at each level of Laplacian pyramids, an even sample of all slices.

    Args:
        seed: Of the places of patches and of which are kept.
        descriptors: Patches that are kept at each level.
    """

    def __init__(self, seed: int = 0, descriptors: int = DESCRIPTORS):
        self._generator = np.random.default_rng(seed)
        self._seed, self._descriptors = seed, descriptors
        self._levels: list[Reservoir] = []

    def update(self, images: np.ndarray) -> None:
        """Add `[slices, height, width]` in [-1, 1]."""
        for image in images:
            for level, band in enumerate(laplacian_pyramid(image)):
                if level == len(self._levels):
                    self._levels.append(Reservoir(self._descriptors, self._seed + level))
                self._levels[level].update(self._patches(band))

    def levels(self) -> list[np.ndarray]:
        """`[patches, 49]` of each level, finest first; each level over its standard deviation."""
        return [reservoir.features for reservoir in self._levels]

    def _patches(self, band: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(band, (PATCH, PATCH))
        rows, columns = (
            self._generator.integers(side, size=PATCHES_PER_SLICE) for side in windows.shape[:2]
        )
        return windows[rows, columns].reshape(PATCHES_PER_SLICE, -1)


def sliced_wasserstein(first: PyramidPatches, second: PyramidPatches, seed: int = 0) -> list[float]:
    """Distance at each level of the pyramid, finest first.

    Patches of both sets are divided by the standard deviation of the second one, the real images.
    The mean over random directions of the 1-D Wasserstein distance of the projections, times 1000
    as in the paper.

    Args:
        first: Of the pictures.
        second: Of the real images, of the same size.
        seed: Of the directions.

    Karras et al., Progressive growing of GANs, ICLR 2018, section 5.
    """
    generator = np.random.default_rng(seed)
    return [
        _distance(*pair, generator) for pair in zip(first.levels(), second.levels(), strict=True)
    ]


def laplacian_pyramid(image: np.ndarray) -> list[np.ndarray]:
    """Details at each scale, finest first, and what is left; sides of at least 16.

    Burt and Adelson, The Laplacian pyramid as a compact image code, 1983.
    """
    bands = []
    while min(image.shape) >= 2 * SMALLEST_SIDE:
        coarse = _smooth(image)[::2, ::2]
        spread = np.zeros_like(image)
        spread[::2, ::2] = coarse
        bands.append(image - 4 * _smooth(spread))
        image = coarse
    return [*bands, image]


def _distance(first: np.ndarray, second: np.ndarray, generator: np.random.Generator) -> float:
    count = min(len(first), len(second))
    centre, scale = second.mean(), second.std() or 1.0
    directions = generator.normal(size=(first.shape[1], DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    projected = [
        np.sort((part[:count] - centre) / scale @ directions, axis=0) for part in (first, second)
    ]
    return float(1000 * np.abs(projected[0] - projected[1]).mean())


def _smooth(image: np.ndarray) -> np.ndarray:
    for axis in (0, 1):
        image = ndimage.correlate1d(image, _TAPS, axis=axis, mode="mirror")
    return image

"""Sliced Wasserstein distance of patches of Laplacian pyramids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from medusis_tf.metrics.distribution import Reservoir
from medusis_tf.metrics.metric import Measure, Metric, MetricContext
from medusis_tf.metrics.tables import Column, Content, MetricTable, results_of

if TYPE_CHECKING:
    from medusis_tf.data.shards.labelled_subjects import LabelledSubject

PATCH = 7
PATCHES_PER_SLICE = 64
DESCRIPTORS = 8192
DIRECTIONS = 256
SMALLEST_SIDE = 16
_TAPS = np.array([1, 4, 6, 4, 1]) / 16


class PyramidPatches:
    """A random sample of patches of 7x7 pixels at each level of Laplacian pyramids.

    Args:
        seed: Seed of the positions of the patches and of the sample.
        descriptors: Maximum number of patches of a level.
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
        """`[patches, 49]` of each level, finest first, not normalized."""
        return [reservoir.features for reservoir in self._levels]

    def _patches(self, band: np.ndarray) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(band, (PATCH, PATCH))
        rows, columns = (
            self._generator.integers(side, size=PATCHES_PER_SLICE) for side in windows.shape[:2]
        )
        return windows[rows, columns].reshape(PATCHES_PER_SLICE, -1)


def sliced_wasserstein(
    images: np.ndarray | PyramidPatches, real: np.ndarray | PyramidPatches, seed: int = 0
) -> list[float]:
    """Distance at each level of the pyramid, finest first.

    The mean over random directions of the 1-D Wasserstein distance of the projections, times 1000
    as in the paper. Patches of both sets are divided by the standard deviation of the real ones.
    The paper divides each set by its own, which ignores differences in contrast.

    Args:
        images: `[slices, height, width]` in [-1, 1], sides of at least 16, or their patches.
        real: Real images of the same size, or their patches.
        seed: Seed of the directions.

    Raises:
        ValueError: A set has no slices, or the sizes differ.

    Source: Karras et al., Progressive growing of GANs, ICLR 2018, section 5. Checked against SciPy
    (`wasserstein_distance`).
    """
    levels = _patches_of(images).levels(), _patches_of(real).levels()
    if len(levels[0]) != len(levels[1]) or not levels[0]:
        raise ValueError(
            "a sliced Wasserstein distance needs slices of one size in both sets. Received: "
            f"pyramids of {len(levels[0])} and {len(levels[1])} levels"
        )
    generator = np.random.default_rng(seed)
    return [_distance(*pair, generator) for pair in zip(*levels, strict=True)]


def laplacian_pyramid(image: np.ndarray) -> list[np.ndarray]:
    """Details at each scale, finest first, and the remaining coarse image; sides of at least 16.

    Source: Burt and Adelson, The Laplacian pyramid as a compact image code, 1983.
    """
    bands = []
    while min(image.shape) >= 2 * SMALLEST_SIDE:
        coarse = _smooth(image)[::2, ::2]
        spread = np.zeros_like(image)
        spread[::2, ::2] = coarse
        bands.append(image - 4 * _smooth(spread))
        image = coarse
    return [*bands, image]


def _patches_of(images: np.ndarray | PyramidPatches) -> PyramidPatches:
    if isinstance(images, PyramidPatches):
        return images
    patches = PyramidPatches()
    patches.update(images)
    return patches


def _distance(first: np.ndarray, second: np.ndarray, generator: np.random.Generator) -> float:
    directions = generator.normal(size=(first.shape[1], DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0) * (second.std() or 1.0)
    return float(1000 * wasserstein(first @ directions, second @ directions).mean())


def wasserstein(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """1-D Wasserstein distance of each column: the area between the quantile functions.

    Args:
        first: `[values, columns]`.
        second: `[other values, columns]`.

    Returns:
        `[columns]`.
    """
    counts = len(first), len(second)
    # Positions of the steps of either quantile function, in units of 1 / (counts[0] * counts[1]).
    ends = np.union1d(*(np.arange(1, counts[i] + 1) * counts[1 - i] for i in (0, 1)))
    parts = np.diff(ends, prepend=0) / (counts[0] * counts[1])
    quantiles = [
        np.sort(part, axis=0)[(ends - 1) // counts[1 - i]] for i, part in enumerate((first, second))
    ]
    return parts @ np.abs(quantiles[0] - quantiles[1])


def _smooth(image: np.ndarray) -> np.ndarray:
    for axis in (0, 1):
        image = ndimage.correlate1d(image, _TAPS, axis=axis, mode="mirror")
    return image


class PyramidMeasure:
    """Sliced Wasserstein distance to the patches of the real images.

    Args:
        real: Patches of the real images.
    """

    def __init__(self, real: PyramidPatches):
        self._real = real
        self._synthetic = PyramidPatches()

    def update(self, subject: LabelledSubject, images: np.ndarray, seed: int = 0) -> None:
        """Add a volume."""
        self._synthetic.update(images)

    def results(self) -> Mapping[str, Any]:
        """`levels`, finest first, and their `mean`; times 1000."""
        levels = sliced_wasserstein(self._synthetic, self._real)
        return {"levels": levels, "mean": float(np.mean(levels))}


_KEY = "sliced_wasserstein"


class SlicedWassersteinMetric(Metric):
    """Sliced Wasserstein distance, in `distribution/sliced_wasserstein`; needs real images."""

    def __init__(self, context: MetricContext):
        super().__init__(context)
        self._real = PyramidPatches()
        if context.has_images:
            for images in context.real_images():
                self._real.update(images)

    def measures(self, is_model: bool = True) -> Mapping[str, Measure]:
        """See `Metric.measures`."""
        return (
            {f"distribution/{_KEY}": PyramidMeasure(self._real)} if self.context.has_images else {}
        )

    @staticmethod
    def tables(content: Content) -> Iterable[MetricTable]:
        """One table."""
        found = results_of(content, "distribution")
        rows = [
            (name, [*each[_KEY]["levels"], each[_KEY]["mean"]])
            for name, each in found
            if _KEY in each
        ]
        levels = len(rows[0][1]) - 1 if rows else 0
        columns = [Column(f"level {level + 1}", 1) for level in range(levels)]
        title = "Sliced Wasserstein distance of patches"
        notes = ["times 1000, level 1 is the finest; 0 for equal sets"]
        yield MetricTable(title, [*columns, Column("mean", 1)], rows, notes)

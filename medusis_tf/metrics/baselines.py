"""Baselines that need no training: class means, random contrasts, the nearest real slice."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import ndimage

from medusis_tf.metrics.memorization import SIDE, shrink


def learn_class_means(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], num_classes: int
) -> np.ndarray:
    """Mean image intensity of each class.

    Args:
        pairs: Label maps and images of aligned slices: `[..., height, width]` class ids, and
            intensities of the same shape.
        num_classes: K, background included.

    Returns:
        `[num_classes]` float64, in the units of the images. A class that does not occur gets the
        mean of the foreground (classes 1 and up); without foreground, the mean of all pixels.

    Raises:
        ValueError: There are no pixels, or a label map and its image differ in shape.
    """
    sums, counts = np.zeros(num_classes), np.zeros(num_classes)
    for label_map, image in pairs:
        if label_map.shape != image.shape:
            raise ValueError(
                "a label map and its image must have the same shape. "
                f"Received: {label_map.shape}, {image.shape}"
            )
        labels = label_map.ravel()
        counts += np.bincount(labels, minlength=num_classes)
        sums += np.bincount(labels, weights=image.ravel(), minlength=num_classes)
    if not counts.any():
        raise ValueError("class means need at least one pair of slices")
    seen = slice(1, None) if counts[1:].any() else slice(None)
    elsewhere = sums[seen].sum() / counts[seen].sum()
    return np.where(counts > 0, sums / np.maximum(counts, 1), elsewhere)


def paint_class_means(label_map: np.ndarray, class_means: np.ndarray) -> np.ndarray:
    """Paint each class with its mean.

    Args:
        label_map: `[..., height, width]` class ids.
        class_means: `[num_classes]` from `learn_class_means`.

    Returns:
        `[..., height, width]` float32.
    """
    return class_means.astype(np.float32)[label_map]


_BIAS_GRID = 4
_LARGEST_BIAS = 0.5
_LARGEST_DEVIATION = 0.14
_LARGEST_BLUR = 1.5
_GAMMA = 0.4


def paint_gaussian_mixture(label_map: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
    """Paint a volume with a random contrast.

    Each class gets a mean drawn from [0, 1] and a standard deviation from [0, 35 / 255]. The slices
    are blurred, multiplied by a smooth bias field, scaled to [0, 1] and raised to a random power.
    Air (class 0) stays black.

    Args:
        label_map: `[slices, height, width]` class ids.
        num_classes: K, background included.
        seed: Seed of all random numbers.

    Returns:
        Same shape, float32 in [-1, 1].

    Source: Billot et al., SynthSeg, Medical Image Analysis 2023, sections 3.2 to 3.4, with the
    ranges given there.
    """
    generator = np.random.default_rng(seed)
    means = generator.uniform(0, 1, num_classes)
    deviations = generator.uniform(0, _LARGEST_DEVIATION, num_classes)
    means[0] = deviations[0] = 0
    noise = generator.standard_normal(label_map.shape)
    image = means[label_map] + deviations[label_map] * noise
    blur = generator.uniform(0, _LARGEST_BLUR)
    image = ndimage.gaussian_filter(image, (0, blur, blur))
    image *= np.exp(_bias(label_map.shape, generator))
    low, high = image.min(), image.max()
    image = (image - low) / max(high - low, 1e-6)
    image **= np.exp(generator.normal(0, _GAMMA))
    image = np.where(label_map == 0, 0, image)
    return (2 * image - 1).astype(np.float32)


# Standard deviation of the greys of a class over patients, on the scale from -1 to 1.
_GREY_VARIATION = 0.1


def paint_gaussian_greys(
    label_map: np.ndarray, means: np.ndarray, deviations: np.ndarray, seed: int
) -> np.ndarray:
    """Paint slices with known greys: the Gaussian mixture with means that are not random.

    Each class gets a mean drawn around its own with standard deviation 0.1, and noise of its own
    standard deviation. The slices are blurred, and clipped. Air (class 0) has no noise.

    Args:
        label_map: `[slices, height, width]` class ids.
        means: `[num_classes]` mean grey of each class in [-1, 1]; NaN for one that is not known,
            which is drawn from [-1, 1].
        deviations: `[num_classes]` standard deviation of each class; NaN counts as 0.
        seed: Seed of all random numbers.

    Returns:
        Same shape, float32 in [-1, 1].

    Source: Billot et al., SynthSeg, Medical Image Analysis 2023, with priors from one contrast.
    """
    generator = np.random.default_rng(seed)
    drawn = generator.normal(means, _GREY_VARIATION)
    drawn = np.where(np.isnan(means), generator.uniform(-1, 1, len(means)), drawn)
    spread = np.nan_to_num(deviations)
    drawn[0], spread[0] = -1 if np.isnan(means[0]) else means[0], 0
    image = drawn[label_map] + spread[label_map] * generator.standard_normal(label_map.shape)
    blur = generator.uniform(0, _LARGEST_BLUR)
    image = ndimage.gaussian_filter(image, (0, blur, blur))
    return np.clip(image, -1, 1).astype(np.float32)


def _bias(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    strength = generator.uniform(0, _LARGEST_BIAS)
    coarse = generator.normal(0, strength, (_BIAS_GRID,) * 3)
    weights = (_linear_weights(side) for side in shape)
    return np.einsum("abc,ia,jb,kc->ijk", coarse, *weights, optimize=True)


def _linear_weights(side: int) -> np.ndarray:
    """`[side, 4]` weights of the grid points at each pixel; the outer points are at the ends."""
    places = np.linspace(0, _BIAS_GRID - 1, side)
    return np.maximum(0, 1 - np.abs(places[:, np.newaxis] - np.arange(_BIAS_GRID)))


_TINY = 1e-6


class NearestSlice:
    """Finds real training slices by the outline of their bodies.

    In unpaired training, real images have no label maps; only their bodies can be compared.

    Args:
        parts: Name and bodies `[slices, height, width]` of each subject; read once, one subject at
            a time.

    Raises:
        ValueError: There are no slices.
    """

    def __init__(self, parts: Iterable[tuple[str, np.ndarray]]):
        self._places: list[tuple[str, int]] = []
        outlines = []
        for name, bodies in parts:
            self._places += [(name, place) for place in range(len(bodies))]
            outlines.append(_outlines(bodies))
        if not self._places:
            raise ValueError("the nearest slice needs at least one real training slice")
        self._outlines = np.concatenate(outlines)
        self._areas = self._outlines.sum(axis=1)

    def find(self, bodies: np.ndarray) -> list[tuple[str, int]]:
        """Subject and index of the slice with the highest Dice coefficient, for each body.

        Args:
            bodies: `[slices, height, width]` bool.
        """
        wanted = _outlines(bodies)
        common = wanted @ self._outlines.T
        sizes = wanted.sum(axis=1)[:, np.newaxis] + self._areas
        # Two slices without a body have Dice 1.
        best = ((2 * common + _TINY) / (sizes + _TINY)).argmax(axis=1)
        return [self._places[place] for place in best.tolist()]


def _outlines(bodies: np.ndarray) -> np.ndarray:
    """`[slices, 1024]` fractions of body in each of 32x32 parts of a slice."""
    return np.array([shrink(body) for body in bodies], np.float32).reshape(-1, SIDE * SIDE)

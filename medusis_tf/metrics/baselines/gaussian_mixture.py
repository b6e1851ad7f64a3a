"""The baseline of no learning at all: each class a random Gaussian, blurred, with a bias field."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

_BIAS_GRID = 4
_LARGEST_BIAS = 0.5
_LARGEST_DEVIATION = 0.14
_LARGEST_BLUR = 1.5
_GAMMA = 0.4


def paint_gaussian_mixture(label_map: np.ndarray, num_classes: int, seed: int) -> np.ndarray:
    """Paint a volume with a contrast drawn at random.

    Each class has a mean drawn from [0, 1] and a standard deviation from [0, 35 / 255]; the slices
    are blurred, multiplied by a smooth bias field, brought to [0, 1] and raised to a random power.
    Air (class 0) stays black.

    Args:
        label_map: `[slices, height, width]` class ids.
        num_classes: K, background included.
        seed: Of everything that is drawn.

    Returns:
        Same shape, float32 in [-1, 1].

    Billot et al., SynthSeg, Medical Image Analysis 2023, sections 3.2 to 3.4 and their ranges.
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


def _bias(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    strength = generator.uniform(0, _LARGEST_BIAS)
    coarse = generator.normal(0, strength, (_BIAS_GRID,) * 3)
    weights = (_linear_weights(side) for side in shape)
    return np.einsum("abc,ia,jb,kc->ijk", coarse, *weights, optimize=True)


def _linear_weights(side: int) -> np.ndarray:
    """`[side, 4]`, of the grid's points at each place; the outermost lie at the ends."""
    places = np.linspace(0, _BIAS_GRID - 1, side)
    return np.maximum(0, 1 - np.abs(places[:, np.newaxis] - np.arange(_BIAS_GRID)))

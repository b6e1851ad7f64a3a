"""What the noise does to the pictures of a model, and what happens as it is truncated."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class NoiseSpread:
    """How much pictures of the same label maps differ from noise to noise.

    Intensities are in [0, 1] here, so that 0.01 is a hundredth of the whole range.

    Attributes:
        brightness_over_noises: Standard deviation, from noise to noise, of a slice's mean
            intensity inside the body; the mean over slices. 0 for a single noise.
        brightness_over_slices: Standard deviation of the same mean from slice to slice; the mean
            over noises.
        pairwise_distance: Mean absolute difference inside the body between two noises' pictures
            of one label map, the mean over pairs and slices. 0 for a single noise.
    """

    brightness_over_noises: float
    brightness_over_slices: float
    pairwise_distance: float


def noise_spread(pictures: np.ndarray, bodies: np.ndarray) -> NoiseSpread:
    """Measure pictures of the same label maps with several noises.

    Args:
        pictures: `[noises, slices, height, width]` in [-1, 1].
        bodies: `[slices, height, width]` bool; slices without body are left out.

    Raises:
        ValueError: No slice has a body.
    """
    shown = bodies.any(axis=(1, 2))
    if not shown.any():
        raise ValueError("no slice has a body, so there is nothing to measure.")
    pictures, bodies = pictures[:, shown], bodies[shown]
    unit = np.clip((pictures + 1) / 2, 0, 1)
    means = np.array([_means_inside(slices, bodies) for slices in unit])
    pairs = [
        _means_inside(np.abs(unit[i] - unit[j]), bodies).mean()
        for i in range(len(unit))
        for j in range(i)
    ]
    return NoiseSpread(
        float(means.std(axis=0).mean()),
        float(means.std(axis=1).mean()),
        float(np.mean(pairs)) if pairs else 0.0,
    )


def truncation_name(truncation: float) -> str:
    """`none`, or the bound."""
    return "none" if math.isinf(truncation) else f"{truncation:g}"


def _means_inside(slices: np.ndarray, bodies: np.ndarray) -> np.ndarray:
    return np.array([part[body].mean() for part, body in zip(slices, bodies, strict=True)])

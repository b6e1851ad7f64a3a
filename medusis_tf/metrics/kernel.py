"""Kernel distance (KID) of two sets of features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class KernelDistance:
    """Unbiased squared maximum mean discrepancy; can be negative for similar sets.

    Attributes:
        mean: Mean over the subsets.
        standard_deviation: Over the subsets, as papers report it; NaN for one subset.
        standard_error: Of the mean, for other subsets of the same images; NaN for one subset. The
            subsets share images, so other images change the mean by more.
        subsets: Number of subsets.
        subset_size: Images of each set in a subset.
    """

    mean: float
    standard_deviation: float
    standard_error: float
    subsets: int
    subset_size: int


def kernel_distance(
    features: np.ndarray,
    real: np.ndarray,
    subset_size: int = 100,
    subsets: int = 100,
    seed: int = 0,
) -> KernelDistance:
    """Kernel distance with the cubic polynomial kernel `(x.y / dimension + 1)^3`.

    The mean over random subsets of both sets, each drawn without replacement. One subset is enough
    if it holds all images of both sets.

    Args:
        features: `[images, dimension]` with at least two images.
        real: Features of the real images, of the same dimension.
        subset_size: Images of each set in a subset; at most the size of the smaller set is used.
        subsets: Number of subsets.
        seed: Seed of the drawing.

    Raises:
        ValueError: A set has fewer than two images, or the dimensions differ.

    Source: Binkowski et al., Demystifying MMD GANs, ICLR 2018. Checked against tensorflow-gan
    (`kernel_classifier_distance_from_activations`) and torch-fidelity (`polynomial_mmd`).
    """
    if min(len(features), len(real)) < 2 or features.shape[1] != real.shape[1]:
        raise ValueError(
            "a kernel distance needs two images in each set, with the same features. "
            f"Received: {features.shape}, {real.shape}"
        )
    size = min(subset_size, len(features), len(real))
    if size == len(features) == len(real):
        subsets = 1
    generator = np.random.default_rng(seed)
    values = [
        polynomial_mmd(
            *(part[generator.permutation(len(part))[:size]] for part in (features, real))
        )
        for _ in range(subsets)
    ]
    deviation = float(np.std(values, ddof=1)) if subsets > 1 else np.nan
    error = deviation / np.sqrt(subsets)
    return KernelDistance(float(np.mean(values)), deviation, error, subsets, size)


def polynomial_mmd(features: np.ndarray, real: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy of two sets.

    Args:
        features: `[images, dimension]`.
        real: `[other images, dimension]`.
    """
    within = [_kernel(part, part) for part in (features, real)]
    same = sum(
        (kernel.sum() - np.trace(kernel)) / (len(kernel) * (len(kernel) - 1)) for kernel in within
    )
    return float(same - 2 * _kernel(features, real).mean())


def _kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    return (first @ second.T / first.shape[1] + 1) ** 3

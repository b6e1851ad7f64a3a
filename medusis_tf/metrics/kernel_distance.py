"""Kernel distance (KID) of two sets of features that come a few at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class KernelDistance:
    """Unbiased squared maximum mean discrepancy; may be negative for sets that are alike.

    Attributes:
        mean: Over the subsets.
        standard_deviation: Over the subsets, which papers give with the mean; NaN for one subset.
        standard_error: Of the mean, as other subsets of the same pictures were drawn; NaN for one
            subset. Subsets share pictures: with other pictures the mean differs by more.
        subsets: How many.
        subset_size: Pictures of each set in a subset.
    """

    mean: float
    standard_deviation: float
    standard_error: float
    subsets: int
    subset_size: int


def kernel_distance(
    first: np.ndarray,
    second: np.ndarray,
    subset_size: int = 100,
    subsets: int = 100,
    seed: int = 0,
) -> KernelDistance:
    """Kernel distance with the cubic polynomial kernel `(x.y / dimension + 1)^3`.

    The mean over random subsets of both sets, each drawn without replacement and not larger than
    the smaller set. Where they hold all pictures of both sets, one is enough.

    Args:
        first: `[pictures, features]`, two pictures at least.
        second: The same.
        subset_size: Pictures of each set in a subset.
        subsets: Number of subsets.
        seed: Of the drawing.

    Raises:
        ValueError: There are not two pictures in each, or the numbers of features differ.

    Binkowski et al., Demystifying MMD GANs, ICLR 2018. Checked against tensorflow-gan
    (`kernel_classifier_distance_from_activations`) and torch-fidelity (`polynomial_mmd`).
    """
    if min(len(first), len(second)) < 2 or first.shape[1] != second.shape[1]:
        raise ValueError(
            "a kernel distance needs two pictures in each set, of the same features. Received: "
            f"{first.shape}, {second.shape}"
        )
    size = min(subset_size, len(first), len(second))
    if size == len(first) == len(second):
        subsets = 1
    generator = np.random.default_rng(seed)
    values = [
        polynomial_mmd(*(part[generator.permutation(len(part))[:size]] for part in (first, second)))
        for _ in range(subsets)
    ]
    deviation = float(np.std(values, ddof=1)) if subsets > 1 else np.nan
    error = deviation / np.sqrt(subsets)
    return KernelDistance(float(np.mean(values)), deviation, error, subsets, size)


def polynomial_mmd(first: np.ndarray, second: np.ndarray) -> float:
    """Unbiased squared maximum mean discrepancy of two sets of the same size or not.

    Args:
        first: `[pictures, features]`.
        second: The same.
    """
    within = [_kernel(part, part) for part in (first, second)]
    same = sum(
        (kernel.sum() - np.trace(kernel)) / (len(kernel) * (len(kernel) - 1)) for kernel in within
    )
    return float(same - 2 * _kernel(first, second).mean())


def _kernel(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    return (first @ second.T / first.shape[1] + 1) ** 3

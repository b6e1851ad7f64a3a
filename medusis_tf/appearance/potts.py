"""Coupling of neighbouring pixels: tissues come in regions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.optimize import minimize_scalar

_ITERATIONS = 6
_LARGEST_STRENGTH = 2.5


def count_neighbours(probabilities: np.ndarray, slice_indices: np.ndarray) -> np.ndarray:
    """Sum of the probabilities of the six neighbours of each pixel.

    Args:
        probabilities: `[slices, height, width, T]`.
        slice_indices: `[slices]`; slices whose indices differ by one are neighbours.

    Returns:
        Same shape.
    """
    total = np.zeros_like(probabilities)
    for axis in (1, 2):
        here, there = np.moveaxis(total, axis, 0), np.moveaxis(probabilities, axis, 0)
        here[1:] += there[:-1]
        here[:-1] += there[1:]
    touching = (np.diff(slice_indices) == 1).astype(probabilities.dtype)[:, None, None, None]
    total[1:] += touching * probabilities[:-1]
    total[:-1] += touching * probabilities[1:]
    return total


def smooth(
    log_joint: np.ndarray, body: np.ndarray, strength: float, slice_indices: np.ndarray
) -> np.ndarray:
    """Mean-field posterior of a Potts model.

    Args:
        log_joint: `[slices, height, width, T]`, logarithm of prior times likelihood.
        body: `[slices, height, width]` bool; pixels outside have no tissue.
        strength: Gain in log probability for each equal neighbour.
        slice_indices: `[slices]`.

    Returns:
        Probabilities of the same shape, zero outside the body.
    """
    inside = body[..., np.newaxis]
    posterior = _normalized(log_joint) * inside
    for _ in range(_ITERATIONS if strength > 0 else 0):
        field = strength * count_neighbours(posterior, slice_indices)
        posterior = 0.5 * posterior + 0.5 * _normalized(log_joint + field) * inside
    return posterior


def fit_strength(
    examples: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]], most: int = 60000
) -> float:
    """Strength with the largest pseudo-likelihood of label maps.

    Args:
        examples: For each label map: tissues `[slices, height, width]` as indices, prior of the
            same shape and `T`, body, and slice indices.
        most: Largest number of pixels of a label map.

    Besag, Statistical analysis of non-lattice data, The Statistician 1975.
    """
    parts = []
    for tissues, prior, body, slice_indices in examples:
        one_hot = np.eye(prior.shape[-1], dtype=np.float32)[tissues] * body[..., np.newaxis]
        neighbours = count_neighbours(one_hot, slice_indices)[body]
        step = max(1, len(neighbours) // most)
        parts.append(
            (neighbours[::step], np.log(prior[body][::step] + 1e-9), tissues[body][::step])
        )

    def loss(strength: float) -> float:
        total, count = 0.0, 0
        for neighbours, log_prior, own in parts:
            score = log_prior + strength * neighbours
            largest = score.max(axis=1)
            normalizer = largest + np.log(np.exp(score - largest[:, None]).sum(axis=1))
            total += float((normalizer - score[np.arange(len(own)), own]).sum())
            count += len(own)
        return total / max(count, 1)

    found = minimize_scalar(loss, bounds=(0, _LARGEST_STRENGTH), method="bounded")
    return float(found.x)


def _normalized(log_values: np.ndarray) -> np.ndarray:
    values = np.exp(log_values - log_values.max(axis=-1, keepdims=True))
    return values / values.sum(axis=-1, keepdims=True)

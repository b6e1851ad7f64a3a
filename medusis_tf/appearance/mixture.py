"""Expectation maximization of one Gaussian per tissue, with a prior by location.

As in unified segmentation (Ashburner and Friston, NeuroImage 2005): mixing proportions and a
smooth bias field of each volume. The means of a volume are drawn towards the mean of all volumes.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

# Fractions of a volume's pixels that the means of all volumes, and its prior, count for.
_SHRINKAGE = 0.02
_MIXING_SHRINKAGE = 0.02
# Fraction of the shrinkage that draws a tissue that is held and hardly occurs.
_LEAST_HOLD = 0.05
LARGEST_MIXING = 4.0
_LEAST_DEVIATION = 0.03
_START_DEVIATION = 0.25
_TOLERANCE = 1e-4
# Air is -1; this keeps logarithms finite in the darkest tissue.
_OFFSET = 0.05


@dataclass(frozen=True, eq=False)
class Pixels:
    """Body pixels of one image.

    Attributes:
        grey: `[n]` in [-1, 1].
        prior: `[n, T]` probabilities by location.
        places: `[n, 3]` relative coordinates in [-1, 1], for the bias field.
    """

    grey: np.ndarray
    prior: np.ndarray
    places: np.ndarray
    _bases: dict[int, np.ndarray] = field(default_factory=dict, init=False, repr=False)

    def bias_basis(self, order: int) -> np.ndarray:
        """Monomials of degree 1 to `order` of the coordinates, `[n, terms]` float32."""
        if order not in self._bases:
            x, y, z = self.places.astype(np.float32).T
            columns = [x**a * y**b * z**c for a, b, c in _exponents(order)]
            self._bases[order] = np.stack(columns, axis=1)
        return self._bases[order]


@dataclass(eq=False)
class Mixture:
    """Tissues of several volumes.

    Attributes:
        means: `[subjects, T]` grey levels of each volume, without its bias field.
        deviations: `[subjects, T]`.
        mixing: `[subjects, T]` factors of the prior.
        bias: `[subjects, terms]` coefficients of the logarithm of the bias field.
        bias_order: Order of its polynomials.
        largest_mixing: Limit of `mixing`, and of its inverse.
        log_likelihood: Mean over pixels, then volumes.
    """

    means: np.ndarray
    deviations: np.ndarray
    mixing: np.ndarray
    bias: np.ndarray
    bias_order: int
    largest_mixing: float
    log_likelihood: float = -np.inf

    def posterior(self, subject: int, pixels: Pixels) -> np.ndarray:
        """Probability of each tissue, `[n, T]` float32, in a volume."""
        return _posterior(self, subject, pixels)[0]


def fit_mixture(
    subjects: Sequence[Pixels],
    start: np.ndarray,
    hold: np.ndarray,
    held_means: np.ndarray,
    held_deviations: np.ndarray,
    iterations: int,
    bias_order: int,
    largest_mixing: float = LARGEST_MIXING,
) -> Mixture:
    """Fit the tissues of all volumes.

    Args:
        subjects: Body pixels of each volume.
        start: `[T]` means to start from.
        hold: `[T]`, how strongly a tissue is drawn towards a given mean and deviation: as much as
            that many times its own pixels. Not at all where 0.
        held_means: `[subjects, T]`, where the tissues that are held start.
        held_deviations: Same shape.
        iterations: Largest number of iterations.
        bias_order: Order of the polynomials of the bias field; 0 for none.
        largest_mixing: A tissue may be this many times as frequent, or as rare, as in the label
            maps.
    """
    count, tissues = len(subjects), len(start)
    mixture = Mixture(
        np.where(hold > 0, held_means, np.tile(start, (count, 1))),
        np.where(hold > 0, held_deviations, np.full((count, tissues), _START_DEVIATION)),
        np.ones((count, tissues)),
        np.zeros((count, len(_exponents(bias_order)))),
        bias_order,
        largest_mixing,
    )
    held = (hold, held_means, held_deviations)
    for iteration in range(iterations):
        before = mixture.log_likelihood
        _iterate(mixture, subjects, held, with_bias=bias_order > 0 and iteration >= 5)
        if iteration > 10 and abs(mixture.log_likelihood - before) < _TOLERANCE:
            break
    return mixture


def unmix(subjects: Sequence[Pixels]) -> np.ndarray:
    """Grey levels of the tissues that explain the mean grey at each location, `[T]`.

    Least squares over all pixels, drawn a little towards the mean of all pixels.
    """
    prior = np.concatenate([each.prior for each in subjects]).astype(np.float64)
    grey = np.concatenate([each.grey for each in subjects]).astype(np.float64)
    mean = grey.mean()
    ridge = 0.01 * len(grey) / prior.shape[1] * np.eye(prior.shape[1])
    solved = np.linalg.solve(prior.T @ prior + ridge, prior.T @ (grey - mean))
    return np.clip(mean + solved, -1, 1)


def log_joint(mixture: Mixture, index: int | None, pixels: Pixels) -> np.ndarray:
    """Logarithm of prior times likelihood of each tissue, `[n, T]`.

    Args:
        mixture: Fitted tissues.
        index: Number of the volume; None for one that was not fitted, which looks like the mean.
        pixels: Pixels of the volume.
    """
    if index is None:
        means, deviations = mixture.means.mean(axis=0), mixture.deviations.mean(axis=0)
        mixing, grey = mixture.mixing.mean(axis=0), pixels.grey
    else:
        means, deviations = mixture.means[index], mixture.deviations[index]
        mixing, grey = mixture.mixing[index], _corrected(pixels, mixture, index)
    prior = pixels.prior * mixing
    prior = prior / (prior.sum(axis=1, keepdims=True) + 1e-12)
    distance = (grey[:, np.newaxis] - means) / deviations
    return np.log(prior + 1e-12) - 0.5 * distance**2 - np.log(deviations)


def _exponents(order: int) -> list[tuple[int, ...]]:
    grid = itertools.product(range(order + 1), repeat=3)
    return [each for each in grid if 0 < sum(each) <= order]


Held = tuple[np.ndarray, np.ndarray, np.ndarray]


def _iterate(mixture: Mixture, subjects: Sequence[Pixels], held: Held, with_bias: bool) -> None:
    sums = np.zeros((3, len(subjects), len(held[0])))
    likelihoods = []
    for index, pixels in enumerate(subjects):
        posterior, likelihood = _posterior(mixture, index, pixels)
        likelihoods.append(likelihood)
        grey = pixels.grey
        if with_bias:
            mixture.bias[index] = _fit_bias(mixture, index, pixels, posterior)
            grey = _corrected(pixels, mixture, index)
        sums[:, index] = posterior.sum(axis=0), grey @ posterior, grey**2 @ posterior
        expected = (pixels.prior * mixture.mixing[index]) / _total(pixels, mixture, index)
        count = _MIXING_SHRINKAGE * len(grey)
        ratio = (sums[0, index] + count * pixels.prior.mean(axis=0)) / (
            expected.sum(axis=0) + count * pixels.prior.mean(axis=0) + 1e-9
        )
        mixing = mixture.mixing[index] * np.clip(ratio, 0.2, 5)
        limit = mixture.largest_mixing
        mixture.mixing[index] = np.clip(mixing, 1 / limit, limit)
    mixture.log_likelihood = float(np.mean(likelihoods))
    _update_gaussians(mixture, sums, [len(each.grey) for each in subjects], held)


def _update_gaussians(mixture: Mixture, sums: np.ndarray, sizes: list[int], held: Held) -> None:
    """Means and deviations of each volume, drawn towards those of all volumes."""
    share, first, second = sums
    strength = _SHRINKAGE * np.array(sizes, np.float64)[:, np.newaxis]
    total = share.sum(axis=0) + 1e-9
    common = first.sum(axis=0) / total
    hold, held_means, held_deviations = held
    is_held = hold > 0
    strength = np.where(is_held, hold * share + _LEAST_HOLD * strength, strength)
    means = (first + strength * np.where(is_held, held_means, common)) / (share + strength)
    within = second - 2 * means * first + means**2 * share
    common_variance = np.where(is_held, held_deviations**2, within.sum(axis=0) / total)
    variance = (within + strength * common_variance) / (share + strength)
    mixture.means = means
    mixture.deviations = np.sqrt(np.maximum(variance, _LEAST_DEVIATION**2))


def _total(pixels: Pixels, mixture: Mixture, index: int) -> np.ndarray:
    return (pixels.prior @ mixture.mixing[index])[:, np.newaxis] + 1e-12


def _posterior(mixture: Mixture, index: int, pixels: Pixels) -> tuple[np.ndarray, float]:
    scores = log_joint(mixture, index, pixels)
    largest = scores.max(axis=1, keepdims=True)
    joint = np.exp(scores - largest)
    total = joint.sum(axis=1, keepdims=True)
    return joint / total, float((np.log(total) + largest).mean())


def _corrected(pixels: Pixels, mixture: Mixture, index: int) -> np.ndarray:
    """Grey levels without the bias field, which multiplies the distance from air."""
    if not mixture.bias.shape[1] or not mixture.bias[index].any():
        return pixels.grey
    field_ = pixels.bias_basis(mixture.bias_order) @ mixture.bias[index]
    return (pixels.grey + 1) * np.exp(-field_) - 1


def _fit_bias(mixture: Mixture, index: int, pixels: Pixels, posterior: np.ndarray) -> np.ndarray:
    """Least squares of the logarithm of grey over expected grey."""
    expected = posterior @ mixture.means[index] + 1 + _OFFSET
    variance = posterior @ mixture.deviations[index] ** 2
    weight = expected**2 / variance
    basis = pixels.bias_basis(mixture.bias_order)
    basis = basis - (weight @ basis) / weight.sum()
    residual = np.log(np.maximum(pixels.grey + 1 + _OFFSET, 0.02) / expected)
    residual = np.clip(residual, -0.7, 0.7)
    weighted = basis * weight[:, np.newaxis]
    ridge = 0.02 * weight.sum() * np.eye(basis.shape[1])
    return np.linalg.solve(weighted.T @ basis + ridge, weighted.T @ residual)

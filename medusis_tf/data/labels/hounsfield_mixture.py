"""A mixture of Gaussians of Hounsfield units, to split a class where nobody wrote a rule."""

import math

import numpy as np

# Range of Hounsfield units of a mixture, its steps, and the least standard deviation.
_LEVELS = np.arange(-1024.0, 3072.0)
_STEPS = 200
_LEAST_SD = 5.0


def mixture_limits(values: np.ndarray, count: int) -> np.ndarray:
    """Limits between the components of a Gaussian mixture, fitted by expectation maximisation.

    Args:
        values: Hounsfield units of any shape.
        count: Number of components.

    Returns:
        `[count - 1]`, increasing: where two neighbouring components are equally likely.
    """
    histogram = np.histogram(values, np.append(_LEVELS, _LEVELS[-1] + 1) - 0.5)[0]
    if not histogram.any():
        return np.full(count - 1, np.inf)
    cumulative = np.cumsum(histogram) / histogram.sum()
    means = _LEVELS[np.searchsorted(cumulative, (np.arange(count) + 0.5) / count)]
    spread = np.sqrt(np.average((_LEVELS - means.mean()) ** 2, weights=histogram)) / count
    sds, shares = np.full(count, max(_LEAST_SD, spread)), np.full(count, 1 / count)
    for _ in range(_STEPS):
        likelihood = _likelihoods(means, sds, shares)
        weights = histogram * likelihood / np.maximum(likelihood.sum(0), 1e-300)
        totals = np.maximum(weights.sum(1), 1e-9)
        shares, means = totals / totals.sum(), weights @ _LEVELS / totals
        variances = (weights * (_LEVELS - means[:, None]) ** 2).sum(1) / totals
        sds = np.maximum(_LEAST_SD, np.sqrt(variances))
    order = np.argsort(means)
    return _crossings(means[order], sds[order], shares[order])


def _likelihoods(means: np.ndarray, sds: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """`[components, levels]`: density of each component, times its share."""
    # Written out: SciPy's statistics take 0.4 s to import, in every process that reads volumes.
    exponents = -0.5 * np.square((_LEVELS - means[:, None]) / sds[:, None])
    return (shares / (sds * math.sqrt(2 * math.pi)))[:, None] * np.exp(exponents)


def _crossings(means: np.ndarray, sds: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """First level between two neighbouring means at which the upper component is likelier."""
    likelihood = _likelihoods(means, sds, shares)
    limits = []
    for index in range(len(means) - 1):
        lower, upper = means[index], means[index + 1]
        between = (lower <= _LEVELS) & (upper >= _LEVELS)
        likelier = between & (likelihood[index + 1] >= likelihood[index])
        limits.append(_LEVELS[likelier][0] - 0.5 if likelier.any() else upper)
    return np.array(limits)

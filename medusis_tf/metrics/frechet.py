"""Frechet distance of two sets of features, and their moments, collected a few at a time."""

from __future__ import annotations

import numpy as np
from scipy import linalg


class Moments:
    """Running mean and covariance in float64; memory does not grow with the number of features.

    Args:
        dimension: Length of a feature.

    Source: Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing
    sample variances, 1979. Checked against NumPy (`numpy.cov`).
    """

    def __init__(self, dimension: int):
        self.count = 0
        self.mean = np.zeros(dimension)
        self.scatter = np.zeros((dimension, dimension))

    @classmethod
    def of(cls, features: np.ndarray) -> Moments:
        """Moments of `[images, dimension]` features."""
        moments = cls(features.shape[1])
        moments.update(features)
        return moments

    def update(self, features: np.ndarray) -> None:
        """Add `[images, dimension]` features."""
        features = np.asarray(features, np.float64)
        if not len(features):
            return
        mean = features.mean(axis=0)
        centred = features - mean
        gap = mean - self.mean
        total = self.count + len(features)
        self.scatter += centred.T @ centred
        self.scatter += np.outer(gap, gap) * (self.count * len(features) / total)
        self.mean = self.mean + gap * (len(features) / total)
        self.count = total

    @property
    def covariance(self) -> np.ndarray:
        """Unbiased covariance `[dimension, dimension]`.

        Raises:
            ValueError: There are fewer than two features.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs two features. Received: {self.count}")
        return self.scatter / (self.count - 1)


def frechet_distance(features: np.ndarray | Moments, real: np.ndarray | Moments) -> float:
    """Frechet distance of two sets of features, each taken as a normal distribution.

    `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))` with unbiased covariances.

    With fewer images than features the covariances do not have full rank and the distance is too
    large. It is then comparable only with distances of equally many images.

    Args:
        features: `[images, dimension]` with at least two images, or their moments.
        real: Features of the real images, in the same form and dimension.

    Raises:
        ValueError: A set has fewer than two images, or the dimensions differ.

    Source: Dowson and Landau, The Frechet distance between multivariate normal distributions,
    1982. Checked against tensorflow-gan (`frechet_classifier_distance_from_activations`),
    torch-fidelity and pytorch-fid.
    """
    first, second = (
        part if isinstance(part, Moments) else Moments.of(part) for part in (features, real)
    )
    if len(first.mean) != len(second.mean):
        raise ValueError(
            "a Frechet distance needs the same features in both sets. "
            f"Received: dimensions {len(first.mean)}, {len(second.mean)}"
        )
    gap = first.mean - second.mean
    covariances = first.covariance, second.covariance
    # tr (C1 C2)^(1/2), from the eigenvalues of the symmetric C1^(1/2) C2 C1^(1/2).
    root = _symmetric_root(covariances[0])
    eigenvalues = linalg.eigvalsh(root @ covariances[1] @ root)
    cross = np.sqrt(np.maximum(eigenvalues, 0)).sum()
    total = gap @ gap + sum(np.trace(covariance) for covariance in covariances) - 2 * cross
    return float(max(total, 0.0))


def _symmetric_root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T

"""Mean and covariance of features that come a few at a time."""

from __future__ import annotations

import numpy as np
from scipy import linalg


class Moments:
    """Running mean and covariance in float64; memory does not grow with the number of features.

    Args:
        dimension: Of a feature.

    Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing sample
    variances, 1979. Checked against NumPy (`numpy.cov`).
    """

    def __init__(self, dimension: int):
        self.count = 0
        self.mean = np.zeros(dimension)
        self.scatter = np.zeros((dimension, dimension))

    def update(self, features: np.ndarray) -> None:
        """Add `[pictures, dimension]` features."""
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
        """Unbiased.

        Raises:
            ValueError: There are not two features.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs two features. Received: {self.count}")
        return self.scatter / (self.count - 1)


def frechet_distance(first: Moments, second: Moments) -> float:
    """Frechet distance of the normal distributions with these moments.

    `|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`, the covariances unbiased.

    With fewer pictures than features the covariances have no full rank and the distance is biased
    upwards; it can be compared only with distances of as many pictures.

    Args:
        first: Of two pictures at least.
        second: The same, of as many features.

    Raises:
        ValueError: There are not two pictures in each, or the numbers of features differ.

    Dowson and Landau, The Frechet distance between multivariate normal distributions, 1982.
    Checked against tensorflow-gan (`frechet_classifier_distance_from_activations`), torch-fidelity
    and pytorch-fid.
    """
    if len(first.mean) != len(second.mean):
        raise ValueError(
            "a Frechet distance needs the same features in both sets. Received: "
            f"{len(first.mean)}, {len(second.mean)}"
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

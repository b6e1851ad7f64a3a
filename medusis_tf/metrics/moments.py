"""Mean and covariance of features that come a few at a time."""

from __future__ import annotations

import numpy as np


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

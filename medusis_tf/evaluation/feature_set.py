"""Features of many pictures: their moments, and an even sample of them."""

from __future__ import annotations

import numpy as np

from medusis_tf.metrics.moments import Moments
from medusis_tf.metrics.reservoir import Reservoir

CAPACITY = 1000


class FeatureSet:
    """What distances between sets of pictures need; memory does not grow with their number.

    Args:
        dimension: Of a feature.
        capacity: Features that are kept for what needs them one by one.
    """

    def __init__(self, dimension: int, capacity: int = CAPACITY):
        self.moments = Moments(dimension)
        self._sample = Reservoir(capacity)

    def update(self, features: np.ndarray) -> None:
        """Add `[pictures, dimension]` features."""
        self.moments.update(features)
        self._sample.update(features)

    @property
    def count(self) -> int:
        """Pictures so far."""
        return self.moments.count

    @property
    def sample(self) -> np.ndarray:
        """`[pictures, dimension]`, `capacity` at most."""
        return self._sample.features

    def standardized(self, mean: np.ndarray, scale: np.ndarray) -> FeatureSet:
        """The same less a mean and over a scale, both `[dimension]`."""
        found = FeatureSet(len(scale))
        found.moments.count = self.moments.count
        found.moments.mean = (self.moments.mean - mean) / scale
        found.moments.scatter = self.moments.scatter / np.outer(scale, scale)
        found._sample.update((self.sample - mean) / scale)
        return found

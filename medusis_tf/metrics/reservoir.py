"""An even sample of features, of bounded size, however many there are."""

from __future__ import annotations

import numpy as np


class Reservoir:
    """Every picture has the same chance to be kept; which ones are depends on the seed alone.

    Args:
        size: Features that are kept at most.
        seed: Of the choice.

    Vitter, Random sampling with a reservoir, ACM TOMS 1985 (algorithm R).
    """

    def __init__(self, size: int, seed: int = 0):
        self._size = size
        self._generator = np.random.default_rng(seed)
        self._kept: list[np.ndarray] = []
        self.count = 0

    def update(self, features: np.ndarray) -> None:
        """Offer `[pictures, dimension]` features."""
        for feature in features:
            self.count += 1
            if len(self._kept) < self._size:
                self._kept.append(feature.copy())
                continue
            place = int(self._generator.integers(self.count))
            if place < self._size:
                self._kept[place] = feature.copy()

    @property
    def features(self) -> np.ndarray:
        """`[kept, dimension]`, the first ones in their order as long as there is room."""
        return np.stack(self._kept) if self._kept else np.empty((0, 0))

"""Sliced Wasserstein distance to the real images, at each scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from medusis_tf.evaluation.judged_subject import JudgedSubject
from medusis_tf.metrics.sliced_wasserstein import PyramidPatches, sliced_wasserstein


class PyramidMeasure:
    """Patches of Laplacian pyramids against those of the real images.

    Args:
        real: Patches of the real images.
    """

    def __init__(self, real: PyramidPatches):
        self._real = real
        self._synthetic = PyramidPatches()

    def update(self, subject: JudgedSubject, pictures: np.ndarray) -> None:
        """Add a volume."""
        self._synthetic.update(pictures)

    def results(self) -> Mapping[str, Any]:
        """`levels`, finest first, and their `mean`; times 1000."""
        levels = sliced_wasserstein(self._synthetic, self._real)
        return {"levels": levels, "mean": float(np.mean(levels))}

"""What a metric has to be to stand in an evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from medusis_tf.evaluation.judged_subject import JudgedSubject


class Measure(Protocol):
    """Collects what one method paints, a volume at a time; memory does not grow with their number.

    A new metric is a file with such a class, and a line in `evaluation/judges.py`.
    """

    def update(self, subject: JudgedSubject, pictures: np.ndarray) -> None:
        """Add a volume.

        Args:
            subject: What was painted.
            pictures: `[slices, height, width]` in [-1, 1].
        """

    def results(self) -> Mapping[str, Any]:
        """What came out, ready for JSON but for NaN and infinity."""

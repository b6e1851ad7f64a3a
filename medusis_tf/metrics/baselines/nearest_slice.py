"""The baseline of retrieval: the real training slice whose body looks most like the label map's."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from medusis_tf.metrics.thumbnails import SIDE, shrink

_TINY = 1e-6


class NearestSlice:
    """Finds real training slices by the outline of their bodies.

    Unpaired training has no label maps of real images, so that the body is all there is to
    compare.

    Args:
        parts: Each subject's name, `[slices, height, width]` bodies; read once, one at a time.

    Raises:
        ValueError: There are no slices.
    """

    def __init__(self, parts: Iterable[tuple[str, np.ndarray]]):
        self._places: list[tuple[str, int]] = []
        outlines = []
        for name, bodies in parts:
            self._places += [(name, place) for place in range(len(bodies))]
            outlines.append(_outlines(bodies))
        if not self._places:
            raise ValueError("the nearest slice needs at least one real training slice.")
        self._outlines = np.concatenate(outlines)
        self._areas = self._outlines.sum(axis=1)

    def find(self, bodies: np.ndarray) -> list[tuple[str, int]]:
        """Subject and place of the slice of highest Dice coefficient, for each body.

        Args:
            bodies: `[slices, height, width]` bool.
        """
        wanted = _outlines(bodies)
        common = wanted @ self._outlines.T
        sizes = wanted.sum(axis=1)[:, np.newaxis] + self._areas
        # Two slices without body are alike.
        best = ((2 * common + _TINY) / (sizes + _TINY)).argmax(axis=1)
        return [self._places[place] for place in best.tolist()]


def _outlines(bodies: np.ndarray) -> np.ndarray:
    """`[slices, 1024]` shares of body in each of 32x32 parts of the slice."""
    return np.array([shrink(body) for body in bodies], np.float32).reshape(-1, SIDE * SIDE)

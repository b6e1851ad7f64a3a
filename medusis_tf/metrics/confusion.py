"""Which class is read for which, over a whole data set."""

from __future__ import annotations

import numpy as np


class ConfusionMatrix:
    """Counts pixels by their class in the label map (rows) and as read (columns).

    Args:
        num_classes: K, background included.
    """

    def __init__(self, num_classes: int):
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def update(self, label_map: np.ndarray, found: np.ndarray) -> None:
        """Add pixels: class ids in the label map, and as read, of one shape.

        Raises:
            ValueError: Shapes differ or an id is not of the table.
        """
        count = len(self.counts)
        if label_map.shape != found.shape:
            raise ValueError(
                "what was read and the label map need one shape. Received: "
                f"{found.shape}, {label_map.shape}"
            )
        for ids in (label_map, found):
            if ids.min(initial=0) < 0 or ids.max(initial=0) >= count:
                raise ValueError(
                    f"class ids must be from 0 to {count - 1}. Received: from {ids.min()} to "
                    f"{ids.max()}"
                )
        pairs = label_map.ravel().astype(np.int64) * count + found.ravel()
        self.counts += np.bincount(pairs, minlength=count**2).reshape(count, count)

    @property
    def dice(self) -> np.ndarray:
        """`[K]` Dice coefficients; NaN for classes that are nowhere in label maps or pictures."""
        return _ratio(2 * self._common, self._true + self._read)

    @property
    def iou(self) -> np.ndarray:
        """`[K]` intersection over union; NaN for classes that are nowhere."""
        return _ratio(self._common, self._true + self._read - self._common)

    @property
    def _common(self) -> np.ndarray:
        return np.diagonal(self.counts)

    @property
    def _true(self) -> np.ndarray:
        return self.counts.sum(axis=1)

    @property
    def _read(self) -> np.ndarray:
        return self.counts.sum(axis=0)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    result = np.full(len(denominator), np.nan)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result

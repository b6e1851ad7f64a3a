"""Turn stored numbers to label ids, chunk by chunk, and notice those that are none."""

from pathlib import Path

import numpy as np

from medusis_tf.errors import UserError

_TOLERANCE = 1e-3
_LIMITS = np.iinfo(np.int32)


class WholeNumbers:
    """Rounds to int16 or int32, and remembers what was not whole or does not fit.

    Label maps stored through a scale factor come back as 117.00000063 (nibabel's int16 for floats
    from 0 to 117), so that values within 0.001 of a whole number are taken for it.
    """

    def __init__(self, slope: float, intercept: float):
        self._slope = slope
        self._intercept = intercept
        self._off = 0
        self._example = 0.0
        self._largest = 0.0

    def __call__(self, chunk: np.ndarray) -> np.ndarray:
        """Round stored values to ids, int16 where they fit; what is no id becomes 0."""
        with np.errstate(all="ignore"):
            if (self._slope, self._intercept) == (1.0, 0.0):
                ids = chunk.astype(np.int16)
                if np.array_equal(ids, chunk):
                    return ids
            ids = self._round(chunk.astype(np.float64) * self._slope + self._intercept)
            narrow = ids.astype(np.int16)
            return narrow if np.array_equal(narrow, ids) else ids

    def _round(self, values: np.ndarray) -> np.ndarray:
        rounded = np.rint(values)
        off = ~(np.abs(values - rounded) <= _TOLERANCE)  # true for NaN, too
        count = int(np.count_nonzero(off))
        if count and not self._off:
            self._example = float(values[off][0])
        self._off += count
        rounded[off] = 0
        beyond = (rounded < _LIMITS.min) | (rounded > _LIMITS.max)
        if beyond.any():
            self._largest = float(rounded[beyond][0])
            rounded[beyond] = 0
        return rounded.astype(np.int32)

    def check(self, path: Path, voxels: int) -> None:
        """Refuse the volume if any of its values was no label id.

        Raises:
            UserError: Says how many, with an example.
        """
        if self._off:
            raise UserError(
                f"{path} is not a label map: {self._off} of {voxels} voxels are not whole numbers, "
                f"such as {self._example:g}. Threshold a soft mask first."
            )
        if self._largest:
            raise UserError(
                f"{path} holds label ids beyond 32 bits, such as {self._largest:.0f}. "
                "It may be an image."
            )

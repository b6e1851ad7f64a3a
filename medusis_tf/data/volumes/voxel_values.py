"""Voxels that are NaN or infinite: found without a copy of the volume, refused or replaced."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from medusis_tf.errors import UserError

_SLAB = 2**20


def settle_not_finite(
    values: np.ndarray,
    slope: float,
    intercept: float,
    path: Path,
    policy: Literal["error", "replace"],
) -> tuple[str, ...]:
    """Make sure that all intensities are finite float32 numbers.

    Args:
        values: One axis, as stored; changed in place where the policy is to replace.
        slope: Of the intensities.
        intercept: Of the intensities.
        path: For error messages.
        policy: Whether to refuse, or to put the least finite intensity instead.

    Returns:
        A warning that says how many voxels were replaced, if any.

    Raises:
        UserError: There are such voxels and the policy is to refuse them, or there are no others.
    """
    # Scaling keeps the order of the values, so that the extremes, NaN among them, speak for all.
    extremes = np.array([values.min(), values.max()])
    if _are_finite(extremes, slope, intercept).all():
        return ()
    bad = sum(int(np.count_nonzero(~good)) for _, good in _slabs(values, slope, intercept))
    if policy == "error":
        raise UserError(
            f"{path} holds {bad} voxels that are NaN or infinite, of {values.size}. Set "
            "data.reading.not_finite=replace, mend the volume, or leave it out."
        )
    if bad == values.size:
        raise UserError(f"{path} holds no voxel that is a finite number. Leave it out.")
    least = _replace(values, slope, intercept)
    return (
        f"{bad} of its {values.size} voxels are NaN or infinite: "
        f"replaced by the least intensity, {least * slope + intercept:g}.",
    )


def _replace(values: np.ndarray, slope: float, intercept: float) -> float:
    pick = np.min if slope >= 0 else np.max
    least = pick(
        [pick(part[good]) for part, good in _slabs(values, slope, intercept) if good.any()]
    )
    for part, good in _slabs(values, slope, intercept):
        part[~good] = least
    return float(least)


def _slabs(
    values: np.ndarray, slope: float, intercept: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(values), _SLAB):
        part = values[start : start + _SLAB]
        yield part, _are_finite(part, slope, intercept)


def _are_finite(values: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        scaled = values.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    return np.isfinite(scaled)


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

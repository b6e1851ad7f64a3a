"""Checks of voxel values: NaN and infinite intensities, label ids that are not integers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from medusis_tf.errors import UserError

_SLAB = 2**20


def check_finite(
    values: np.ndarray,
    slope: float,
    intercept: float,
    path: Path,
    policy: Literal["error", "replace"],
) -> tuple[str, ...]:
    """Make sure that all intensities are finite float32 numbers, without a copy of the volume.

    Args:
        values: Stored values, flat; changed in place if the policy is `replace`.
        slope: Scale factor of the intensities.
        intercept: Offset of the intensities.
        path: Source file, for error messages.
        policy: `error` to refuse non-finite intensities, `replace` to set them to the lowest
            finite intensity.

    Returns:
        A warning with the number of replaced voxels, if any.

    Raises:
        UserError: There are non-finite intensities and the policy is `error`, or all are
            non-finite.
    """
    # Scaling is monotonic: if both extremes are finite, all values are. NaN propagates to both.
    extremes = np.array([values.min(), values.max()])
    if _are_finite(extremes, slope, intercept).all():
        return ()
    bad = sum(int(np.count_nonzero(~good)) for _, good in _slabs(values, slope, intercept))
    if policy == "error":
        raise UserError(
            f"{path} has {bad} voxels that are NaN or infinite, of {values.size}. Set "
            "data.reading.not_finite=replace, fix the volume, or leave it out."
        )
    if bad == values.size:
        raise UserError(f"{path} has no voxel with a finite value. Leave it out.")
    lowest = _replace(values, slope, intercept)
    return (
        f"{bad} of its {values.size} voxels are NaN or infinite: "
        f"replaced by the lowest intensity, {lowest * slope + intercept:g}.",
    )


def _replace(values: np.ndarray, slope: float, intercept: float) -> float:
    pick = np.min if slope >= 0 else np.max
    lowest = pick(
        [pick(slab[good]) for slab, good in _slabs(values, slope, intercept) if good.any()]
    )
    for slab, good in _slabs(values, slope, intercept):
        slab[~good] = lowest
    return float(lowest)


def _slabs(
    values: np.ndarray, slope: float, intercept: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for start in range(0, len(values), _SLAB):
        slab = values[start : start + _SLAB]
        yield slab, _are_finite(slab, slope, intercept)


def _are_finite(values: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        scaled = values.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    return np.isfinite(scaled)


_TOLERANCE = 1e-3
_LIMITS = np.iinfo(np.int32)


class WholeNumbers:
    """Rounds stored values to int16 or int32 label ids, and records invalid values.

    Values within 0.001 of an integer are accepted: label maps stored with a scale factor are read
    back as 117.00000063 (nibabel's int16 for floats from 0 to 117).

    Args:
        slope: Scale factor of the stored values.
        intercept: Offset of the stored values.
        policy: `replace` to make values that are not finite background, 0.
    """

    def __init__(
        self, slope: float, intercept: float, policy: Literal["error", "replace"] = "error"
    ):
        self._slope = slope
        self._intercept = intercept
        self._replaces = policy == "replace"
        self._num_replaced = 0
        self._num_invalid = 0
        self._example = 0.0
        self._too_large = 0.0

    def __call__(self, chunk: np.ndarray) -> np.ndarray:
        """Round stored values to ids, int16 if they fit; invalid values become 0."""
        with np.errstate(all="ignore"):
            if (self._slope, self._intercept) == (1.0, 0.0):
                ids = chunk.astype(np.int16)
                if np.array_equal(ids, chunk):
                    return ids
            ids = self._round(chunk.astype(np.float64) * self._slope + self._intercept)
            narrow = ids.astype(np.int16)
            return narrow if np.array_equal(narrow, ids) else ids

    def _round(self, values: np.ndarray) -> np.ndarray:
        if self._replaces and (bad := ~np.isfinite(values)).any():
            self._num_replaced += int(np.count_nonzero(bad))
            values[bad] = 0
        rounded = np.rint(values)
        invalid = ~(np.abs(values - rounded) <= _TOLERANCE)  # also true for NaN
        count = int(np.count_nonzero(invalid))
        if count and not self._num_invalid:
            self._example = float(values[invalid][0])
        self._num_invalid += count
        rounded[invalid] = 0
        beyond = (rounded < _LIMITS.min) | (rounded > _LIMITS.max)
        if beyond.any():
            self._too_large = float(rounded[beyond][0])
            rounded[beyond] = 0
        return rounded.astype(np.int32)

    def check(self, path: Path, voxels: int) -> tuple[str, ...]:
        """Refuse the volume if any value so far was not a label id.

        Args:
            path: Source file, for error messages.
            voxels: Number of voxels of the volume.

        Returns:
            A warning with the number of replaced voxels, if any.

        Raises:
            UserError: States the number of invalid values, with an example.
        """
        if self._num_invalid:
            finite = np.isfinite(self._example)
            remedy = (
                "Threshold a soft mask first."
                if finite
                else "If they surround the labels, set data.reading.not_finite=replace."
            )
            raise UserError(
                f"{path} is not a label map: {self._num_invalid} of {voxels} voxels are not whole "
                f"numbers, such as {self._example:g}. {remedy}"
            )
        if self._too_large:
            raise UserError(
                f"{path} has label ids beyond 32 bits, such as {self._too_large:.0f}. "
                "It may be an image."
            )
        if not self._num_replaced:
            return ()
        return (
            f"{self._num_replaced} of its {voxels} voxels are NaN or infinite: "
            "replaced by background.",
        )

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

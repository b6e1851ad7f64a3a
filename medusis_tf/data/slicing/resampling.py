"""Sample the axes of a grid at the points of another grid with the same centre."""

from __future__ import annotations

import numpy as np


class AxisSampling:
    """Positions of the points of one axis among the points of a source axis.

    Args:
        count: Number of points to sample.
        spacing_mm: Distance between these points.
        source_count: Number of points of the source.
        source_spacing_mm: Distance between the source points.
        shift: Offset of the points, in source points; 0 aligns the centres.
    """

    def __init__(
        self,
        count: int,
        spacing_mm: float,
        source_count: int,
        source_spacing_mm: float,
        shift: float = 0.0,
    ):
        from_centre = (np.arange(count) - (count - 1) / 2) * (spacing_mm / source_spacing_mm)
        # Rounded, so that equal grids match exactly and all halves are rounded in one direction.
        position = np.round(from_centre + (source_count - 1) / 2 + shift, 6)
        # A source point covers its whole cell, half a spacing to each side.
        self.inside = (position >= -0.5) & (position <= source_count - 0.5)
        position = np.clip(position, 0, source_count - 1)
        self.nearest = np.floor(position + 0.5).astype(int).clip(max=source_count - 1)
        self.lower = np.floor(position).astype(int)
        self.upper = np.minimum(self.lower + 1, source_count - 1)
        self.weight = (position - self.lower).astype(np.float32)

    def linear(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Linear interpolation at the points, along one axis of a float array."""
        if not self.weight.any():
            return np.take(values, self.lower, axis, mode="clip")
        shape = [1] * values.ndim
        shape[axis] = -1
        weight = self.weight.reshape(shape)
        sampled = np.take(values, self.lower, axis, mode="clip")
        sampled *= 1 - weight
        sampled += weight * np.take(values, self.upper, axis, mode="clip")
        return sampled


def sample_nearest(
    slices: np.ndarray, rows: AxisSampling, columns: AxisSampling, fill: int
) -> np.ndarray:
    """Sample `[n, source rows, source columns]` by nearest neighbour, `fill` outside."""
    size = len(rows.nearest), len(columns.nearest)
    sampled = np.empty((len(slices), *size), slices.dtype)
    for source, target in zip(slices, sampled, strict=True):  # single slices fit into the cache
        nearest = np.take(source, rows.nearest, 0, mode="clip")
        np.take(nearest, columns.nearest, 1, out=target, mode="clip")
    sampled[:, ~_inside(rows, columns)] = fill
    return sampled


def sample_linear(
    slices: np.ndarray, rows: AxisSampling, columns: AxisSampling, fill: float
) -> np.ndarray:
    """Sample `[n, source rows, source columns]` float32 linearly, `fill` outside."""
    sampled = columns.linear(rows.linear(slices, 1), 2)
    sampled[:, ~_inside(rows, columns)] = fill
    return sampled


def _inside(rows: AxisSampling, columns: AxisSampling) -> np.ndarray:
    return np.logical_and.outer(rows.inside, columns.inside)

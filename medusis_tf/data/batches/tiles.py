"""Apply a network of volumes to a volume of any depth: overlapping parts along its axis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from medusis_tf.config.volumes import VolumesConfig

# Slices that 2.5D networks compute at once, beside the margins.
_SLICES_AT_ONCE = 4

Apply = Callable[[np.ndarray, int], np.ndarray]


@dataclass(frozen=True)
class Tiles:
    """Parts of a volume along its axis, of which neighbours overlap.

    Attributes:
        depth: Slices of a tile.
        overlap: Slices that two successive tiles share.
        margin: Outer slices of a tile that are not used where another tile has them. Between the
            margins of two tiles, one fades into the other.
        multiple: Divisor of the depth of a tile.
    """

    depth: int
    overlap: int = 0
    margin: int = 0
    multiple: int = 1

    @classmethod
    def of(cls, volumes: VolumesConfig, stride: int) -> Tiles:
        """The tiles of the networks of an experiment.

        Networks of 2.5D see a margin around each slice, so their tiles fit exactly. Those of 3D
        see farther than a tile; half of each tile fades into the next.

        Args:
            volumes: Settings of the experiment.
            stride: Divisor of the sides that the generator needs.
        """
        if volumes.networks == "2.5d":
            margin = volumes.margin
            return cls(_SLICES_AT_ONCE + 2 * margin, 2 * margin, margin)
        overlap = volumes.depth // 2 // stride * stride
        return cls(volumes.depth, overlap, multiple=stride)

    def apply(self, function: Apply, volume: np.ndarray) -> np.ndarray:
        """Apply a function to all tiles, and join the results.

        Args:
            function: Function of a tile `[depth, ...]` and the number of its first slice, which
                returns `[depth, ...]` floats. The last tile may be smaller, if `multiple` is 1.
            volume: `[slices, ...]`. Where `multiple` needs more slices, the last one is repeated.

        Returns:
            `[slices, ...]` float32.
        """
        count = len(volume)
        starts, total = self._starts(count)
        padded = np.concatenate([volume, np.repeat(volume[-1:], total - count, axis=0)])
        joined = None
        for first in starts:
            tile = padded[first : first + self.depth]
            found = function(tile, first).astype(np.float32)
            if joined is None:
                joined = np.zeros((total, *found.shape[1:]), np.float32)
            weights = self._weights(len(tile), first > 0, first != starts[-1])
            joined[first : first + len(tile)] += (
                weights.reshape(-1, *[1] * (found.ndim - 1)) * found
            )
        if joined is None:
            raise ValueError("the volume has no slices")
        return joined[:count]

    def _starts(self, count: int) -> tuple[list[int], int]:
        """First slices of the tiles, and the number of slices with those that are repeated."""
        step = self.depth - self.overlap
        more = max(0, -(-(count - self.depth) // step))
        total = count
        if self.multiple > 1:
            total = -(-count // self.multiple) * self.multiple
            total = total if total <= self.depth else self.depth + more * step
        return [number * step for number in range(more + 1)], total

    def _weights(self, depth: int, has_before: bool, has_after: bool) -> np.ndarray:
        """Weight of each slice of a tile. Those of all tiles that share a slice add up to 1."""
        weights = np.ones(depth, np.float32)
        if self.overlap == 0:
            return weights
        fading = self.overlap - 2 * self.margin
        ramp = np.concatenate(
            [
                np.zeros(self.margin),
                (np.arange(fading) + 1) / (fading + 1),
                np.ones(self.margin),
            ]
        )
        if has_before:
            # A smaller last tile may consist of the overlap alone.
            weights[: self.overlap] *= ramp[:depth]
        if has_after:
            weights[-self.overlap :] *= 1 - ramp
        return weights


def without_gaps(
    slices: np.ndarray, slice_indices: np.ndarray, fill: float = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Fill the places of slices that were left out of a volume.

    Args:
        slices: `[slices, ...]`.
        slice_indices: `[slices]`, ascending indices in the volume.
        fill: What missing slices consist of: 0, the background of label maps, or air for images.

    Returns:
        `[last - first + 1, ...]`, and the places of the given slices in it.
    """
    places = slice_indices - slice_indices[0]
    if places[-1] == len(places) - 1:
        return slices, places
    volume = np.full((places[-1] + 1, *slices.shape[1:]), fill, slices.dtype)
    volume[places] = slices
    return volume, places

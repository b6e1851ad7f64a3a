"""Intensity histograms of many subjects on one axis, and who stands out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medusis_tf.data.shards.manifest import Histogram

NUM_BINS = 96
SCALED_RANGE = (-1.0, 1.0)
_LEVELS = 2**16  # of prepared slices
# Of the voxels of a volume, at most this share may lie beyond the axis unnoticed.
_BEYOND = 1e-3
# An axis ends here, in median reaches of all subjects, or one bright volume would squeeze the rest.
_LONGEST_AXIS = 4.0


@dataclass(frozen=True, eq=False)
class IntensityCurves:
    """Histograms of several subjects over the same bins.

    Attributes:
        subjects: Their names.
        lower: Where the first bin starts.
        upper: Where the last bin ends; it also holds all that lies beyond.
        shares: `[subjects, NUM_BINS]`, of a subject's voxels; each row adds up to 1.
        distances: `[subjects]`, from the median of all subjects: the mean difference between the
            cumulative histograms, which is the share of the axis that intensities are off by.
        beyond: Names of the subjects with more than a thousandth of their voxels past `upper`.
    """

    subjects: tuple[str, ...]
    lower: float
    upper: float
    shares: np.ndarray
    distances: np.ndarray
    beyond: tuple[str, ...] = ()

    @property
    def median(self) -> np.ndarray:
        """`[NUM_BINS]`, the median share of every bin."""
        return np.median(self.shares, axis=0)

    def share_of(self, subject: str) -> np.ndarray:
        """`[NUM_BINS]`, the histogram of one subject."""
        return self.shares[self.subjects.index(subject)]


def raw_curves(histograms: Mapping[str, Histogram]) -> IntensityCurves:
    """Histograms of whole volumes as stored, on one axis.

    Args:
        histograms: Subject to histogram; at least one.
    """
    lower = min(histogram.lower for histogram in histograms.values())
    reaches = {name: _reach(histogram) for name, histogram in histograms.items()}
    middle = float(np.median(list(reaches.values())))
    upper = min(max(reaches.values()), lower + _LONGEST_AXIS * (middle - lower))
    upper = upper if upper > lower else lower + 1.0
    edges = np.linspace(lower, upper, NUM_BINS + 1)
    shares = np.stack([_rebin(histogram, edges) for histogram in histograms.values()])
    beyond = tuple(name for name, reach in reaches.items() if reach > upper)
    return IntensityCurves(
        tuple(histograms), lower, upper, shares, distances_from_median(shares), beyond
    )


def scaled_curves(shares: Mapping[str, np.ndarray]) -> IntensityCurves:
    """Histograms of scaled slices, on the axis from -1 to 1.

    Args:
        shares: Subject to `[NUM_BINS]`, from `scaled_shares`; at least one.
    """
    stacked = np.stack(list(shares.values()))
    distances = distances_from_median(stacked)
    return IntensityCurves(tuple(shares), *SCALED_RANGE, stacked, distances)


def scaled_shares(image: np.ndarray) -> np.ndarray:
    """Share of pixels in each of the equal bins from -1 to 1.

    A value stands for all that is nearer to it than to its neighbours, up to a bin away: volumes
    of few grey levels would make a comb of bins that hold one level more or less.

    Args:
        image: `[slices, rows, columns]`, in [-1, 1]; not empty.

    Returns:
        `[NUM_BINS]`, adding up to 1.
    """
    counts = np.zeros(_LEVELS, np.int64)
    for pixels in image:  # one by one, so that no second volume is held
        levels = np.rint((pixels.ravel() + 1) * np.float32((_LEVELS - 1) / 2))
        counts += np.bincount(levels.astype(np.int64), minlength=_LEVELS)
    present = np.flatnonzero(counts)
    values = present * (2 / (_LEVELS - 1)) - 1
    reach = np.minimum(np.diff(values) / 2, 2 / NUM_BINS)
    starts = np.maximum(values - np.concatenate([[2 / NUM_BINS], reach]), -1)
    ends = np.minimum(values + np.concatenate([reach, [2 / NUM_BINS]]), 1)
    below = np.concatenate([[0.0], np.cumsum(counts[present]) / counts.sum()])
    knots = np.stack([starts, ends], axis=1).ravel()
    edges = np.linspace(*SCALED_RANGE, NUM_BINS + 1)
    return np.diff(np.interp(edges, knots, np.repeat(below, 2)[1:-1]))


def distances_from_median(shares: np.ndarray) -> np.ndarray:
    """How far every histogram is from the median one, as a share of the axis.

    Args:
        shares: `[subjects, bins]`, each row adding up to 1.

    Returns:
        `[subjects]`, the 1-Wasserstein distance of bins one apart, over the number of bins.
    """
    cumulative = np.cumsum(shares, axis=1)
    return np.abs(cumulative - np.median(cumulative, axis=0)).mean(axis=1)


def farthest(all_curves: Sequence[IntensityCurves], number: int) -> tuple[str, ...]:
    """Subjects farthest from the median in any of several histograms, the farthest first."""
    distances: dict[str, float] = {}
    for curves in all_curves:
        for subject, distance in zip(curves.subjects, curves.distances.tolist(), strict=True):
            distances[subject] = max(distance, distances.get(subject, 0.0))
    return tuple(sorted(distances, key=lambda subject: -distances[subject])[:number])


def evenly_spread(number: int, of: int) -> Sequence[int]:
    """Places of at most `number` out of `of`, ends included, as evenly as whole numbers go."""
    if of <= number:
        return range(of)
    return np.linspace(0, of - 1, number).round().astype(int).tolist()


def _reach(histogram: Histogram) -> float:
    """The intensity that all but a thousandth of the voxels stay below, to a bin."""
    counts = np.array(histogram.counts, np.float64)
    if not counts.sum():
        return histogram.upper
    below = np.cumsum(counts) / counts.sum()
    last = int(np.searchsorted(below, 1 - _BEYOND)) + 1
    width = (histogram.upper - histogram.lower) / len(counts)
    return histogram.lower + min(last, len(counts)) * width


def _rebin(histogram: Histogram, edges: np.ndarray) -> np.ndarray:
    # Voxels spread evenly over their bin: exact at the old edges, and the total is kept.
    counts = np.array(histogram.counts, np.float64)
    source = np.linspace(histogram.lower, histogram.upper, len(counts) + 1)
    below = np.concatenate([[0.0], np.cumsum(counts)]) / max(counts.sum(), 1.0)
    if histogram.upper <= histogram.lower:
        # A constant volume: all of it lies in one bin.
        shares = np.zeros(len(edges) - 1)
        place = np.searchsorted(edges, histogram.lower, side="right") - 1
        shares[np.clip(place, 0, len(shares) - 1)] = 1.0
        return shares
    cumulative = np.interp(edges, source, below)
    cumulative[0], cumulative[-1] = 0.0, 1.0
    return np.diff(cumulative)

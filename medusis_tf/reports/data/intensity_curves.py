"""Intensity histograms of the subjects of a split on one axis, and the outliers among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medusis_tf.config.data import Split
from medusis_tf.data.shards.manifest import Histogram, SubjectRecord

NUM_BINS = 96
NUM_COLOURED = 6
_SCALED_RANGE = (-1.0, 1.0)
_LEVELS = 2**16  # of prepared slices
# A volume is reported if more than this share of its voxels lies beyond the axis.
_BEYOND = 1e-3
# Length of the longest axis, as a multiple of the median maximum of all subjects: one very bright
# volume must not compress the curves of the others.
_LONGEST_AXIS = 4.0


@dataclass(frozen=True, eq=False)
class IntensityCurves:
    """Histograms of several subjects over the same bins.

    Attributes:
        subjects: Names of the subjects.
        lower: Lower edge of the first bin.
        upper: Upper edge of the last bin, which also counts all higher intensities.
        shares: `[subjects, NUM_BINS]`, shares of the voxels of a subject; each row adds up to 1.
        beyond: Names of the subjects with more than 0.1 % of their voxels above `upper`.
    """

    subjects: tuple[str, ...]
    lower: float
    upper: float
    shares: np.ndarray
    beyond: tuple[str, ...] = ()

    @property
    def middles(self) -> np.ndarray:
        """`[NUM_BINS]`, the centre of every bin."""
        edges = np.linspace(self.lower, self.upper, NUM_BINS + 1)
        return (edges[1:] + edges[:-1]) / 2

    @cached_property
    def median(self) -> np.ndarray | None:
        """`[NUM_BINS]`, the median share of every bin; None for fewer than three subjects."""
        return np.median(self.shares, axis=0) if len(self.subjects) >= 3 else None

    def share_of(self, subject: str) -> np.ndarray:
        """`[NUM_BINS]`, the histogram of one subject."""
        return self.shares[self.subjects.index(subject)]


@dataclass(frozen=True)
class SplitIntensities:
    """Histograms of one split.

    Attributes:
        split: Name of the split.
        stages: `as stored`, of the whole volumes of all subjects with an image, and `after
            scaling`, of the slices of the subjects in `drawn`; the latter only if there are any.
        coloured: The subjects farthest from the median in either stage, the farthest first.
        drawn: The subjects whose slices were read.
    """

    split: Split
    stages: Mapping[str, IntensityCurves]
    coloured: tuple[str, ...]
    drawn: tuple[str, ...]


def split_intensities(
    split: Split, subjects: Sequence[SubjectRecord], scaled: Mapping[str, np.ndarray]
) -> SplitIntensities | None:
    """Collect the histograms of one split.

    Args:
        split: Name of the split.
        subjects: Records of the subjects of all splits.
        scaled: Name to result of `scaled_shares`, for the subjects whose slices were read.

    Returns:
        None if the split has no images.
    """
    histograms = {
        entry.subject: entry.histogram
        for entry in subjects
        if entry.split == split and entry.histogram is not None
    }
    if not histograms:
        return None
    stages = {"as stored": raw_curves(histograms)}
    drawn = tuple(name for name in histograms if name in scaled)
    if drawn:
        shares = np.stack([scaled[name] for name in drawn])
        stages["after scaling"] = IntensityCurves(drawn, *_SCALED_RANGE, shares)
    distances: dict[str, float] = {}
    for curves in stages.values():
        found = distances_from_median(curves.shares).tolist()
        for name, distance in zip(curves.subjects, found, strict=True):
            distances[name] = max(distance, distances.get(name, 0.0))
    farthest = sorted(distances, key=lambda name: -distances[name])
    return SplitIntensities(split, stages, tuple(farthest[:NUM_COLOURED]), drawn)


def raw_curves(histograms: Mapping[str, Histogram]) -> IntensityCurves:
    """Compute the histograms of whole volumes on one axis, in intensities as stored.

    Args:
        histograms: Subject to histogram, at least one.
    """
    lower = min(histogram.lower for histogram in histograms.values())
    reaches = {name: _reach(histogram) for name, histogram in histograms.items()}
    middle = float(np.median(list(reaches.values())))
    upper = min(max(reaches.values()), lower + _LONGEST_AXIS * (middle - lower))
    upper = upper if upper > lower else lower + 1.0
    edges = np.linspace(lower, upper, NUM_BINS + 1)
    shares = np.stack([_rebin(histogram, edges) for histogram in histograms.values()])
    beyond = tuple(name for name, reach in reaches.items() if reach > upper)
    return IntensityCurves(tuple(histograms), lower, upper, shares, beyond)


def scaled_shares(image: np.ndarray) -> np.ndarray:
    """Compute the share of the pixels in each of `NUM_BINS` equal bins from -1 to 1.

    A grey level is spread over the interval halfway to its neighbours, at most one bin to each
    side. Otherwise images with few grey levels would have an irregular, comb-like histogram.

    Args:
        image: `[slices, rows, columns]`, in [-1, 1]; not empty.

    Returns:
        `[NUM_BINS]`, adding up to 1.
    """
    counts = np.zeros(_LEVELS, np.int64)
    for pixels in image:  # one slice at a time, to save memory
        levels = np.rint((pixels.ravel() + 1) * np.float32((_LEVELS - 1) / 2))
        counts += np.bincount(levels.astype(np.int64), minlength=_LEVELS)
    present = np.flatnonzero(counts)
    values = present * (2 / (_LEVELS - 1)) - 1
    reach = np.minimum(np.diff(values) / 2, 2 / NUM_BINS)
    starts = np.maximum(values - np.concatenate([[2 / NUM_BINS], reach]), -1)
    ends = np.minimum(values + np.concatenate([reach, [2 / NUM_BINS]]), 1)
    below = np.concatenate([[0.0], np.cumsum(counts[present]) / counts.sum()])
    knots = np.stack([starts, ends], axis=1).ravel()
    edges = np.linspace(*_SCALED_RANGE, NUM_BINS + 1)
    return np.diff(np.interp(edges, knots, np.repeat(below, 2)[1:-1]))


def distances_from_median(shares: np.ndarray) -> np.ndarray:
    """Compute how far every histogram is from the median histogram.

    Args:
        shares: `[subjects, bins]`, each row adding up to 1.

    Returns:
        `[subjects]`, the 1-Wasserstein distance as a fraction of the axis.
    """
    cumulative = np.cumsum(shares, axis=1)
    return np.abs(cumulative - np.median(cumulative, axis=0)).mean(axis=1)


def _reach(histogram: Histogram) -> float:
    """Return the 99.9th percentile of the intensities, rounded up to a bin edge."""
    counts = np.array(histogram.counts, np.float64)
    if not counts.sum():
        return histogram.upper
    below = np.cumsum(counts) / counts.sum()
    last = int(np.searchsorted(below, 1 - _BEYOND)) + 1
    width = (histogram.upper - histogram.lower) / len(counts)
    return histogram.lower + min(last, len(counts)) * width


def _rebin(histogram: Histogram, edges: np.ndarray) -> np.ndarray:
    # Linear interpolation of the cumulative histogram: voxels are spread evenly over their bin.
    counts = np.array(histogram.counts, np.float64)
    source = np.linspace(histogram.lower, histogram.upper, len(counts) + 1)
    below = np.concatenate([[0.0], np.cumsum(counts)]) / max(counts.sum(), 1.0)
    if histogram.upper <= histogram.lower:
        # A constant volume: all voxels are in one bin.
        shares = np.zeros(len(edges) - 1)
        index = np.searchsorted(edges, histogram.lower, side="right") - 1
        shares[np.clip(index, 0, len(shares) - 1)] = 1.0
        return shares
    cumulative = np.interp(edges, source, below)
    cumulative[0], cumulative[-1] = 0.0, 1.0
    return np.diff(cumulative)

"""Pseudo-labels of the images, and the grey levels under them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from medusis_tf.appearance.appearance import NUM_QUANTILES, PseudoLabels
from medusis_tf.appearance.atlas import Atlas, build_atlas, locate
from medusis_tf.appearance.fitting import Fit, extreme_pixels
from medusis_tf.appearance.geometry import image_geometry, label_geometry
from medusis_tf.appearance.mixture import Pixels, log_joint
from medusis_tf.appearance.potts import fit_strength, smooth
from medusis_tf.appearance.samples import (
    LabelSample,
    by_depth,
    read_label_map,
    relative_places,
    surrounding_air,
)
from medusis_tf.config.data import DataConfig

if TYPE_CHECKING:
    from medusis_tf.data.shards.manifest import SubjectRecord
    from medusis_tf.data.shards.shards import Shards

_BINS = 2000
_LAGS = (1, 2)
# A tissue is hidden among others if they explain more than this fraction of it.
_HIDDEN = 0.5
# Label maps that the strength of the coupling is learned from.
_STRENGTH_SUBJECTS = 8


@dataclass(eq=False)
class GreyStatistics:
    """Histograms and correlations of the greys of each group; the last group is air.

    Attributes:
        histogram: `[groups, bins]` weights of the greys between -1 and 1.
        products: `[groups, axes, lags]` sums of products of neighbouring residuals.
        squares: Same shape, sums of their squares.
    """

    groups: int
    histogram: np.ndarray = field(init=False)
    products: np.ndarray = field(init=False)
    squares: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.histogram = np.zeros((self.groups, _BINS))
        self.products, self.squares = np.zeros((2, self.groups, 2, len(_LAGS)))

    def add(
        self, group: int, grey: np.ndarray, weight: np.ndarray, slice_indices: np.ndarray
    ) -> None:
        """Add the pixels of one image.

        Args:
            group: Row of the statistics.
            grey: `[slices, height, width]` in [-1, 1].
            weight: Same shape, probability that a pixel belongs to the group.
            slice_indices: `[slices]`.
        """
        some = weight > 1e-3
        places = np.clip((grey[some] + 1) * (_BINS / 2), 0, _BINS - 1).astype(np.int64)
        self.histogram[group] += np.bincount(places, weights=weight[some], minlength=_BINS)
        sure = weight > 0.5
        if not sure.any():
            return
        residual = np.where(sure, grey - grey[sure].mean(), 0)
        touching = np.flatnonzero(np.diff(slice_indices) == 1)
        for lag_number, lag in enumerate(_LAGS):
            for axis in (1, 2):
                first = np.moveaxis(residual, axis, 0)[:-lag], np.moveaxis(sure, axis, 0)[:-lag]
                second = np.moveaxis(residual, axis, 0)[lag:], np.moveaxis(sure, axis, 0)[lag:]
                self._correlate(group, 0, lag_number, *first, *second)
        pair = residual[touching], sure[touching], residual[touching + 1], sure[touching + 1]
        self._correlate(group, 1, 0, *pair)

    def _correlate(
        self, group: int, axis: int, lag: int,
        first: np.ndarray, first_sure: np.ndarray, second: np.ndarray, second_sure: np.ndarray,
    ) -> None:  # fmt: skip
        both = first_sure & second_sure
        self.products[group, axis, lag] += float((first * second)[both].sum())
        self.squares[group, axis, lag] += float(0.5 * (first**2 + second**2)[both].sum())

    def quantiles(self, group: int) -> np.ndarray:
        """Quantiles `(k + 1/2) / 32`, `[32]` float32; NaN without pixels."""
        total = self.histogram[group].sum()
        if total < 1:
            return np.full(NUM_QUANTILES, np.nan, np.float32)
        cumulated = np.concatenate([[0], np.cumsum(self.histogram[group])]) / total
        edges = np.linspace(-1, 1, _BINS + 1)
        levels = (np.arange(NUM_QUANTILES) + 0.5) / NUM_QUANTILES
        kept = np.concatenate([[True], np.diff(cumulated) > 0])
        return np.interp(levels, cumulated[kept], edges[kept]).astype(np.float32)

    def moments(self, group: int) -> tuple[float, float]:
        """Mean and standard deviation; NaN without pixels."""
        total = self.histogram[group].sum()
        if total < 1:
            return np.nan, np.nan
        centres = (np.arange(_BINS) + 0.5) * (2 / _BINS) - 1
        mean = float(self.histogram[group] @ centres / total)
        variance = float(self.histogram[group] @ (centres - mean) ** 2 / total)
        return mean, float(np.sqrt(variance))

    def correlation(self, group: int) -> tuple[float, float]:
        """Width of the Gaussian that smooths white noise alike: in the slice, between slices.

        Noise smoothed by a Gaussian of width s has the correlation exp(-lag^2 / (4 s^2)).
        """
        products, squares = self.products[group], self.squares[group]
        if not (
            squares[0].all() and squares[1, 0]
        ):  # no pixel is sure to belong to it: like the mean of all
            products, squares = self.products.sum(axis=0), self.squares.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = products / squares
        in_slice = [_width(ratio[0, number], lag) for number, lag in enumerate(_LAGS)]
        return float(np.mean(in_slice)), _width(ratio[1, 0], 1)


def _width(correlation: float, lag: int) -> float:
    if not np.isfinite(correlation) or correlation < 0.02:
        return 0.0
    return float(lag / (2 * np.sqrt(-np.log(min(correlation, 0.98)))))


def _mean_of_regions(mask: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Replace values by their mean over each connected region of a slice.

    Args:
        mask: `[slices, height, width]` bool.
        values: `[n, k]`, values of the pixels of the mask.
    """
    in_slice = np.zeros((3, 3, 3), bool)
    in_slice[1] = ndimage.generate_binary_structure(2, 1)
    regions = ndimage.label(mask, in_slice)[0][mask]
    sizes = np.bincount(regions)
    sums = np.stack([np.bincount(regions, column) for column in values.T], axis=1)
    return (sums / np.maximum(sizes, 1)[:, np.newaxis])[regions]


class Labeller:
    """Labels images with the fitted tissues.

    Args:
        shards: Prepared slices.
        data: Configuration of the slices.
        fit: Fitted tissues.
        labels: Counts of the label maps.
        fitted: Names of the subjects of the fit, in its order.
        smoothing: Strength of the coupling; learned from the label maps if None.
    """

    def __init__(
        self, shards: Shards, data: DataConfig, fit: Fit, labels: Sequence[LabelSample],
        fitted: Sequence[str], smoothing: float | None,
    ):  # fmt: skip
        self._shards, self._data, self._fit = shards, data, fit
        self._fitted = {name: index for index, name in enumerate(fitted)}
        self._classes: Atlas = build_atlas([each.counts for each in labels], fit.atlas.strengths)
        self.smoothing = self._learn_smoothing(labels) if smoothing is None else smoothing

    def label(self, record: SubjectRecord, statistics: GreyStatistics) -> PseudoLabels:
        """Label the image of a subject, and add its greys to the statistics."""
        slices = self._shards.read(record)
        image = self._shards.read_image(record)
        geometry = image_geometry(image, record, self._data)
        cells = locate(geometry)
        scores = self._scores(image, cells, record)
        single = smooth(scores, geometry.body, 0, slices.slice_indices)
        posterior = smooth(scores, geometry.body, self.smoothing, slices.slice_indices)
        for number, group in enumerate(self._fit.groups):
            # Smoothing leaves only the extreme pixels of a tissue that others overlap.
            is_hidden = 1 - self._fit.overlap[number, number] > _HIDDEN
            weight = (single if is_hidden else posterior)[..., number]
            if group.kind != "estimated":
                weight = self._extreme(group.kind, image, geometry.body, cells, number)
            statistics.add(number, image, weight, slices.slice_indices)
        air = surrounding_air(geometry).astype(np.float32)
        statistics.add(len(self._fit.groups), image, air, slices.slice_indices)
        return self._choose_classes(posterior, geometry.body, cells)

    def _scores(self, image: np.ndarray, cells: np.ndarray, record: SubjectRecord) -> np.ndarray:
        """Logarithm of prior times likelihood, `[slices, height, width, groups]` float32."""
        prior = self._fit.atlas.probabilities(cells).reshape(-1, len(self._fit.groups))
        pixels = Pixels(image.ravel(), prior, relative_places(image.shape).reshape(-1, 3))
        index = self._fitted.get(record.subject)
        scores = log_joint(self._fit.mixture, index, pixels).reshape(*image.shape, -1)
        return scores.astype(np.float32)

    def _extreme(
        self, kind: str, image: np.ndarray, body: np.ndarray, cells: np.ndarray, number: int
    ) -> np.ndarray:
        inside = cells[:, body]
        share = self._fit.atlas.probabilities(inside)[:, number]
        sign = 1 if kind == "darkest" else -1
        weight = np.zeros(image.shape, np.float32)
        weight[body] = extreme_pixels(sign * image[body], by_depth(inside), share)
        return weight

    def _choose_classes(
        self, posterior: np.ndarray, body: np.ndarray, cells: np.ndarray
    ) -> PseudoLabels:
        """Most probable group of each pixel; within it, one class for each connected region."""
        probabilities = self._classes.probabilities(cells)
        chosen = posterior.argmax(axis=-1)
        labels = np.zeros(body.shape, np.uint8)
        certainty = np.ones(body.shape, np.float32)
        for number, group in enumerate(self._fit.groups):
            here = body & (chosen == number)
            within = probabilities[here][:, list(group.classes)]
            within /= within.sum(axis=1, keepdims=True) + 1e-9
            if len(group.classes) > 1:
                within = _mean_of_regions(here, within)
            labels[here] = np.array(group.classes)[within.argmax(axis=1)]
            certainty[here] = posterior[here][:, number] * within.max(axis=1)
        return PseudoLabels.of(labels, certainty)

    def _learn_smoothing(self, labels: Sequence[LabelSample]) -> float:
        groups = self._fit.groups
        group_of = np.zeros(self._data.num_classes, int)
        for number, group in enumerate(groups):
            group_of[list(group.classes)] = number
        known = np.isin(np.arange(self._data.num_classes), [c for g in groups for c in g.classes])

        def example(record: SubjectRecord) -> tuple[np.ndarray, ...]:
            label_map = read_label_map(self._shards, record)
            geometry = label_geometry(label_map, record, self._data)
            prior = self._fit.atlas.probabilities(locate(geometry))
            indices = self._shards.read(record).slice_indices
            return group_of[label_map], prior, geometry.body & known[label_map], indices

        return fit_strength(example(each.record) for each in labels[:_STRENGTH_SUBJECTS])  # type: ignore[misc]

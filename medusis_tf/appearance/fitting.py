"""Fit the tissues to the sampled pixels, and merge those that cannot be distinguished."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medusis_tf.appearance.atlas import Atlas, build_atlas
from medusis_tf.appearance.mixture import Mixture, Pixels, fit_mixture, unmix
from medusis_tf.appearance.samples import ImageSample, LabelSample, by_depth
from medusis_tf.appearance.stability import (
    by_group,
    by_patient,
    fewer,
    jackknife,
    overlap_of,
    pixels_of,
)
from medusis_tf.appearance.tissues import INSIDE_BACKGROUND, Group, fallback, start_levels
from medusis_tf.config.appearance import AppearanceConfig

logger = logging.getLogger(__name__)

# A tissue that is rarer than this fraction of the body is not estimated.
_LEAST_SHARE = 2e-3
# Rarer tissues are also looked for away from the most frequent one.
_RARE = 0.15
_START_OFFSET = 0.4
_START_ITERATIONS = 12
_LEAST_DEVIATION = 0.03


@dataclass(frozen=True, eq=False)
class Fit:
    """Tissues fitted to all images.

    Attributes:
        groups: Groups of classes, in the order of the columns below.
        atlas: Probability of each group by location.
        mixture: Grey levels by image.
        spread: `[groups]` standard errors of the means; NaN where there is none.
        overlap: `[groups]` fractions that other groups explain as well.
        extremes: `[groups]` and for each image, greys of the extreme pixels; None for others.
        warnings: What was merged, and why.
    """

    groups: list[Group]
    atlas: Atlas
    mixture: Mixture
    spread: np.ndarray
    overlap: np.ndarray
    extremes: list[list[np.ndarray] | None]
    warnings: list[str]


def fit_tissues(
    labels: Sequence[LabelSample],
    images: Sequence[ImageSample],
    groups: list[Group],
    config: AppearanceConfig,
) -> Fit:
    """Fit all groups; merge one after the other that is not trusted, and fit again.

    Args:
        labels: Counts of the label maps.
        images: Pixels of the images.
        groups: Groups of classes without class 0.
        config: Settings.
    """
    counts = by_patient(labels)
    groups = _with_background(groups, counts)
    strengths = build_atlas(by_group(counts, groups)).strengths
    warnings: list[str] = []
    while True:
        fit = _fit(counts, images, groups, strengths, config, warnings)
        merged = _merge_worst(fit, config)
        if merged is None:  # the test of stability takes longest, so it comes last
            start = fit.mixture.means.mean(axis=0)
            fit = replace(fit, spread=_spread(counts, images, groups, strengths, config, start))
            merged = _merge_worst(fit, config)
        if merged is None:
            return fit
        groups, warning = merged
        logger.info("%s", warning)
        warnings.append(warning)


def _fit(
    counts: list[list[np.ndarray]],
    images: Sequence[ImageSample],
    groups: list[Group],
    strengths: tuple[float, ...],
    config: AppearanceConfig,
    warnings: list[str],
) -> Fit:
    atlas = build_atlas(by_group(counts, groups), strengths)
    mixture, extremes = _mixture(atlas, images, groups, config)
    overlap = overlap_of(mixture, atlas, images, len(groups))
    spread = np.full(len(groups), np.nan)
    return Fit(groups, atlas, mixture, spread, overlap, extremes, warnings)


def _mixture(
    atlas: Atlas,
    images: Sequence[ImageSample],
    groups: list[Group],
    config: AppearanceConfig,
    start: np.ndarray | None = None,
) -> tuple[Mixture, list[list[np.ndarray] | None]]:
    """Fit from the given means; by default from the data and from the table of tissues."""
    pixels = [pixels_of(atlas, image) for image in images]
    extremes = [_extremes(group, number, pixels, images) for number, group in enumerate(groups)]
    means, deviations = _extreme_moments(extremes, len(images))
    hold = np.array([0.0 if each is None else 1.0 for each in extremes])

    order = config.em.bias_order

    def fit(some: list[Pixels], start: np.ndarray, iterations: int) -> Mixture:
        return fit_mixture(some, start, hold, means, deviations, iterations, order)

    starts = _starts(pixels, atlas, groups, config) if start is None else [start]
    if len(starts) > 1:
        few = [pixels_of(atlas, fewer(image)) for image in images]
        scores = [fit(few, each, _START_ITERATIONS).log_likelihood for each in starts]
        starts = [starts[int(np.argmax(scores))]]
    return fit(pixels, starts[0], config.em.iterations), extremes


def _starts(
    pixels: Sequence[Pixels], atlas: Atlas, groups: list[Group], config: AppearanceConfig
) -> list[np.ndarray]:
    """Means to start from: of the data, of the table, and with rare tissues moved away."""
    starts = [unmix(pixels)]
    if (levels := start_levels(groups, config.contrast)) is not None:
        starts.append(np.array(levels))
    shares = np.mean([each.prior.mean(axis=0) for each in pixels], axis=0)
    common = [n for n in np.argsort(-shares) if groups[n].kind == "estimated"][:1]
    for number, group in enumerate(groups):
        if group.kind == "estimated" and shares[number] < _RARE and common:
            for offset in (-_START_OFFSET, _START_OFFSET):
                moved = starts[0].copy()
                moved[number] = np.clip(moved[common[0]] + offset, -1, 1)
                starts.append(moved)
    return starts


def _extreme_moments(
    extremes: Sequence[list[np.ndarray] | None], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Means and deviations `[images, groups]` of the extreme pixels."""
    means, deviations = np.zeros((2, count, len(extremes)))
    for number, each in enumerate(extremes):
        for index, greys in enumerate(each or []):
            means[index, number], deviations[index, number] = -1, _LEAST_DEVIATION
            if len(greys):  # else this image shows none of it
                means[index, number] = greys.mean()
                deviations[index, number] = max(greys.std(), _LEAST_DEVIATION)
    return means, deviations


def _extremes(
    group: Group, number: int, pixels: Sequence[Pixels], images: Sequence[ImageSample]
) -> list[np.ndarray] | None:
    """Greys of the extreme pixels at each depth, as many as the label maps contain."""
    if group.kind == "estimated":
        return None
    sign = 1 if group.kind == "darkest" else -1
    return [
        image.grey[extreme_pixels(sign * image.grey, by_depth(image.cells), each.prior[:, number])]
        for each, image in zip(pixels, images, strict=True)
    ]


def extreme_pixels(grey: np.ndarray, depth: np.ndarray, share: np.ndarray) -> np.ndarray:
    """The darkest pixels at each depth.

    Args:
        grey: `[n]`.
        depth: `[n]` ids of depth bins.
        share: `[n]`, probability of the tissue at each pixel; its mean at a depth is the share.

    Returns:
        `[n]` bool.
    """
    order = np.lexsort((grey, depth))
    sizes = np.bincount(depth)
    ranks = np.empty(len(grey), np.int64)
    ranks[order] = np.arange(len(grey)) - (np.cumsum(sizes) - sizes)[depth[order]]
    wanted = np.bincount(depth, weights=share)
    return ranks < np.rint(wanted)[depth]


def _spread(
    counts: list[list[np.ndarray]],
    images: Sequence[ImageSample],
    groups: list[Group],
    strengths: tuple[float, ...],
    config: AppearanceConfig,
    start: np.ndarray,
) -> np.ndarray:
    """Jackknife standard errors of the means over patients with label maps."""
    few = [fewer(image) for image in images]

    def means(rest: list[list[np.ndarray]]) -> np.ndarray:
        atlas = build_atlas(by_group(rest, groups), strengths)
        return _mixture(atlas, few, groups, config, start)[0].means.mean(axis=0)

    return jackknife(counts, means, len(groups))


def _merge_worst(fit: Fit, config: AppearanceConfig) -> tuple[list[Group], str] | None:
    """Merge the least trusted estimated group into another; None if all are trusted."""
    estimated = [n for n, group in enumerate(fit.groups) if group.kind == "estimated"]
    if len(estimated) < 2:
        return None
    own = np.diag(fit.overlap)
    badness = {
        n: max(
            np.nan_to_num(fit.spread[n]) / config.spread_limit,
            (1 - own[n]) / config.overlap_limit,
        )
        for n in estimated
    }
    worst = max(estimated, key=lambda n: badness[n])
    if badness[worst] <= 1:
        return None
    into = _partner(fit, worst, estimated)
    group, target = fit.groups[worst], fit.groups[into]
    why = (
        f"the mean moves by {fit.spread[worst]:.2f} with the patients"
        if np.nan_to_num(fit.spread[worst]) > config.spread_limit
        else f"other tissues explain {100 * (1 - own[worst]):.0f} % of its pixels as well"
    )
    warning = f"{group.name} cannot be distinguished ({why}): tied to {target.name}"
    merged = target.merged(group, f"not distinguished ({why}): like {target.name}")
    kept = [each for n, each in enumerate(fit.groups) if n not in (worst, into)]
    return [*kept, merged], warning


def _partner(fit: Fit, worst: int, estimated: list[int]) -> int:
    """The group that stands in: of the table, or the one that explains most of the pixels."""
    wanted = fallback(fit.groups[worst].name)
    others = [n for n in estimated if n != worst]
    for number in others:
        if fit.groups[number].name == wanted:
            return number
    real = [n for n in others if fit.groups[n].name != INSIDE_BACKGROUND] or others
    return max(real, key=lambda n: fit.overlap[worst, n])


def _with_background(groups: list[Group], counts: list[list[np.ndarray]]) -> list[Group]:
    """Add class 0 inside the body as a group, unless there is almost none."""
    total = sum(patient[0].sum(axis=0) for patient in counts)
    background = Group(INSIDE_BACKGROUND, "estimated", (0,), {})
    present = [group for group in groups if total[list(group.classes)].sum() > 0]
    inside = total[0] / total.sum()
    return [*present, background] if inside > _LEAST_SHARE else present

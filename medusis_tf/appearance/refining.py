"""Tell the classes of a tissue apart by their location, as far as that is stable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from medusis_tf.appearance.atlas import build_atlas
from medusis_tf.appearance.fitting import Fit
from medusis_tf.appearance.mixture import Mixture, fit_mixture
from medusis_tf.appearance.samples import ImageSample, LabelSample
from medusis_tf.appearance.stability import (
    by_group,
    by_patient,
    fewer,
    jackknife,
    overlap_of,
    pixels_of,
)
from medusis_tf.appearance.tissues import Group
from medusis_tf.config.appearance import AppearanceConfig
from medusis_tf.config.taxonomy import ClassEntry

# A class is drawn towards its tissue by this many times its own pixels.
_HOLD = 0.1
# Location is all that tells the classes of a tissue apart: their shares stay as in the label maps.
_LARGEST_MIXING = 1.2


def refine_classes(
    fit: Fit,
    labels: Sequence[LabelSample],
    images: Sequence[ImageSample],
    classes: Sequence[ClassEntry],
    config: AppearanceConfig,
) -> Fit:
    """Estimate each class of a tissue by itself, starting from the tissue.

    A class whose mean moves with the patients keeps the grey levels of its tissue. Classes that are
    tied by the table or the user, or that could not be distinguished, are left as they are.

    Args:
        fit: Fitted tissues.
        labels: Counts of the label maps.
        images: Pixels of the images.
        classes: Class table.
        config: Settings.
    """
    counts = by_patient(labels)
    groups, parents = _split(fit.groups, classes, set())
    if len(groups) == len(fit.groups):
        return fit
    _, spread = _fit(fit, groups, parents, counts, images, config)
    unstable = {
        each
        for number, group in enumerate(groups)
        if np.nan_to_num(spread[number]) > config.spread_limit
        for each in group.classes
    }
    if unstable:
        groups, parents = _split(fit.groups, classes, unstable)
    mixture, spread = _fit(fit, groups, parents, counts, images, config)
    atlas = build_atlas(by_group(counts, groups), fit.atlas.strengths)
    overlap = overlap_of(mixture, atlas, images, len(groups))
    fit.warnings.extend(_overlapping(groups, fit.groups, overlap, config.overlap_limit))
    return replace(
        fit,
        groups=groups,
        atlas=atlas,
        mixture=mixture,
        spread=spread,
        overlap=overlap,
        extremes=[fit.extremes[parent] for parent in parents],
    )


def _overlapping(
    groups: Sequence[Group], tissues: Sequence[Group], overlap: np.ndarray, limit: float
) -> Iterator[str]:
    """Yield a warning of each class of a tissue that others explain as well.

    It keeps its estimate: the classes of a tissue are alike, and their means are stable.
    """
    for number, group in enumerate(groups):
        others = 1 - overlap[number, number]
        if group not in tissues and others > limit:
            yield (
                f"{group.name}: other tissues explain {100 * others:.0f} % of its pixels as well; "
                "its mean is stable, and is kept"
            )


def _split(
    groups: Sequence[Group], classes: Sequence[ClassEntry], together: set[int]
) -> tuple[list[Group], list[int]]:
    """Groups of single classes and their tissues; the classes in `together` stay with theirs."""
    names = {entry.id: entry.name for entry in classes}
    split, parents = [], []
    for number, group in enumerate(groups):
        free = [each for each in group.classes if each not in group.notes and each not in together]
        rest = tuple(each for each in group.classes if each not in free)
        if group.kind != "estimated" or len(free) < 2:
            split.append(group)
            parents.append(number)
            continue
        for each in free:
            note = f"estimated, starting from {group.name}"
            split.append(Group(names[each], "estimated", (each,), {each: note}))
            parents.append(number)
        if rest:
            notes = {each: group.notes.get(each, "estimated as a tissue") for each in rest}
            split.append(Group(group.name, "estimated", rest, notes))
            parents.append(number)
    return split, parents


def _fit(
    fit: Fit,
    groups: list[Group],
    parents: list[int],
    counts: list[list[np.ndarray]],
    images: Sequence[ImageSample],
    config: AppearanceConfig,
) -> tuple[Mixture, np.ndarray]:
    means, deviations = fit.mixture.means[:, parents], fit.mixture.deviations[:, parents]

    def mixture_of(some: list[list[np.ndarray]], shown: Sequence[ImageSample]) -> Mixture:
        atlas = build_atlas(by_group(some, groups), fit.atlas.strengths)
        return fit_mixture(
            [pixels_of(atlas, image) for image in shown],
            means.mean(axis=0),
            np.array([1.0 if group.kind != "estimated" else _HOLD for group in groups]),
            means,
            deviations,
            config.em.iterations,
            config.em.bias_order,
            _LARGEST_MIXING,
        )

    few = [fewer(image) for image in images]
    spread = jackknife(counts, lambda rest: mixture_of(rest, few).means.mean(axis=0), len(groups))
    return mixture_of(counts, images), spread

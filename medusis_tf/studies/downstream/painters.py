"""Painters of the training sets: the model, Gaussian mixtures and estimated means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medusis_tf.data.shards.labelled_subjects import LabelledSubject
from medusis_tf.evaluation.painters import Painter
from medusis_tf.metrics.baselines import (
    paint_class_means,
    paint_gaussian_greys,
    paint_gaussian_mixture,
)
from medusis_tf.studies.downstream.rows import ESTIMATED_MEANS, ESTIMATED_MIXTURE, MIXTURE, SOURCES

if TYPE_CHECKING:
    from medusis_tf.studies.downstream.training_sets import StudyData


def mixture_painter(num_classes: int) -> Painter:
    """Gaussian mixtures with a new random contrast for every slice.

    Args:
        num_classes: K, background included.
    """

    def paint(subject: LabelledSubject, seed: int) -> np.ndarray:
        return _slice_by_slice(
            subject, seed, lambda label_map, n: paint_gaussian_mixture(label_map, num_classes, n)
        )

    return Painter(SOURCES[MIXTURE], "baseline", paint, is_random=True)


@dataclass(frozen=True, eq=False)
class Greys:
    """Grey levels of the classes.

    Attributes:
        means: `[num_classes]` mean of each class in [-1, 1]; NaN for one that is not known.
        deviations: `[num_classes]` standard deviation of each class.
    """

    means: np.ndarray
    deviations: np.ndarray


def estimate_greys(data: StudyData) -> Greys:
    """Estimate the greys from label maps and unpaired images, or read an earlier estimate.

    Raises:
        UserError: They cannot be estimated.
    """
    from medusis_tf.appearance import load_or_estimate

    found = load_or_estimate(data.config, data.shards)
    return Greys(found.means, found.deviations)


def grey_painters(greys: Greys) -> dict[str, Painter]:
    """Painters by key: the Gaussian mixture with given greys, new for every slice, and the means.

    The painted mean of a class that is not known is the mean of the foreground's classes.
    """

    def paint(subject: LabelledSubject, seed: int) -> np.ndarray:
        return _slice_by_slice(
            subject,
            seed,
            lambda label_map, n: paint_gaussian_greys(label_map, greys.means, greys.deviations, n),
        )

    filled = np.where(np.isnan(greys.means), np.nanmean(greys.means[1:]), greys.means)
    return {
        ESTIMATED_MIXTURE: Painter(SOURCES[ESTIMATED_MIXTURE], "baseline", paint, is_random=True),
        ESTIMATED_MEANS: Painter(
            SOURCES[ESTIMATED_MEANS],
            "baseline",
            lambda subject, _: paint_class_means(subject.label_map, filled),
        ),
    }


def _slice_by_slice(
    subject: LabelledSubject, seed: int, paint: Callable[[np.ndarray, int], np.ndarray]
) -> np.ndarray:
    """Paint every slice with its own seed."""
    seeds = np.random.SeedSequence(seed).generate_state(len(subject.label_map))
    pairs = zip(subject.label_map, seeds, strict=True)
    return np.concatenate(
        [paint(label_map[np.newaxis], int(number)) for label_map, number in pairs]
    )

"""Painters of the training sets: the model, Gaussian mixtures and estimated means."""

from __future__ import annotations

from collections.abc import Callable
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


def estimated_painters(data: StudyData) -> dict[str, Painter]:
    """Painters with greys that were estimated from unpaired data alone.

    Args:
        data: Label maps and unpaired images.

    Returns:
        The Gaussian mixture and the painted means by key.

    Raises:
        UserError: The greys cannot be estimated.
    """
    from medusis_tf.appearance import load_or_estimate

    appearance = load_or_estimate(data.config, data.shards)
    return grey_painters(np.asarray(appearance.means), np.asarray(appearance.deviations))


def grey_painters(means: np.ndarray, deviations: np.ndarray) -> dict[str, Painter]:
    """The Gaussian mixture with given greys, new for every slice, and painted means.

    Args:
        means: `[num_classes]` mean of each class in [-1, 1]; NaN for one that is not known.
        deviations: `[num_classes]` standard deviation of each class.
    """

    def paint(subject: LabelledSubject, seed: int) -> np.ndarray:
        return _slice_by_slice(
            subject,
            seed,
            lambda label_map, n: paint_gaussian_greys(label_map, means, deviations, n),
        )

    filled = np.where(np.isnan(means), np.nanmean(means[1:]), means)
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

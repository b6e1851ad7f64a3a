"""Painters of the training sets: the model, Gaussian mixtures and estimated means."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from medusis_tf.appearance.painting import known_means, paint_class_quantiles
from medusis_tf.data.shards.labelled_subjects import LabelledSubject
from medusis_tf.evaluation.painters import Paint, Painter
from medusis_tf.metrics.baselines import (
    paint_class_means,
    paint_gaussian_greys,
    paint_gaussian_mixture,
)
from medusis_tf.studies.downstream.rows import (
    ESTIMATED_MEANS,
    ESTIMATED_MIXTURE,
    ESTIMATED_TEXTURE,
    MIXTURE,
    SOURCES,
)

if TYPE_CHECKING:
    from medusis_tf.appearance.appearance import Appearance
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


def estimate_greys(data: StudyData) -> Appearance:
    """Estimate the greys from label maps and unpaired images, or read an earlier estimate.

    Raises:
        UserError: They cannot be estimated.
    """
    from medusis_tf.appearance import load_or_estimate

    return load_or_estimate(data.config, data.shards)


def grey_painters(greys: Appearance) -> dict[str, Painter]:
    """Painters by key: Gaussian mixture, means, and quantiles with texture.

    The mixture has new greys around the means for every slice.
    """
    means = known_means(greys)

    def mixture(subject: LabelledSubject, seed: int) -> np.ndarray:
        return _slice_by_slice(
            subject,
            seed,
            lambda label_map, n: paint_gaussian_greys(label_map, greys.means, greys.deviations, n),
        )

    paints: dict[str, Paint] = {
        ESTIMATED_MIXTURE: mixture,
        ESTIMATED_MEANS: lambda subject, _: paint_class_means(subject.label_map, means),
        ESTIMATED_TEXTURE: lambda subject, seed: paint_class_quantiles(
            subject.label_map, greys, seed
        ),
    }
    return {
        key: Painter(SOURCES[key], "baseline", paint, is_random=key != ESTIMATED_MEANS)
        for key, paint in paints.items()
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

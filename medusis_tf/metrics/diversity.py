"""Diversity of a model's images: how much they differ from noise to noise."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from medusis_tf.metrics.metric import Metric
from medusis_tf.metrics.similarity import to_unit_range
from medusis_tf.metrics.tables import Column, Content, MetricTable, counted


@dataclass(frozen=True)
class NoiseSpread:
    """Differences between images of the same label maps with different noises.

    Intensities are in [0, 1].

    Attributes:
        brightness_over_noises: Standard deviation over noises of a slice's mean intensity inside
            the body, mean over slices. 0 for one noise.
        brightness_over_slices: Standard deviation over slices of the same mean intensity, mean
            over noises.
        pairwise_distance: Mean absolute difference inside the body of the images of two noises,
            mean over pairs of noises and slices. 0 for one noise.
    """

    brightness_over_noises: float
    brightness_over_slices: float
    pairwise_distance: float


def noise_spread(images: np.ndarray, bodies: np.ndarray) -> NoiseSpread:
    """Measure images of the same label maps with several noises.

    Args:
        images: `[noises, slices, height, width]` in [-1, 1].
        bodies: Body of each label map, `[slices, height, width]` bool; slices without body are
            left out.

    Raises:
        ValueError: No slice has a body.
    """
    shown = bodies.any(axis=(1, 2))
    if not shown.any():
        raise ValueError("noise spread needs at least one slice with a body")
    images, bodies = images[:, shown], bodies[shown]
    unit = to_unit_range(images)
    means = np.array([_means_inside(slices, bodies) for slices in unit])
    pairs = [
        _means_inside(np.abs(unit[i] - unit[j]), bodies).mean()
        for i in range(len(unit))
        for j in range(i)
    ]
    return NoiseSpread(
        float(means.std(axis=0).mean()),
        float(means.std(axis=1).mean()),
        float(np.mean(pairs)) if pairs else 0.0,
    )


def truncation_name(truncation: float) -> str:
    """The bound of truncated noise as a text; `none` for infinity."""
    return "none" if math.isinf(truncation) else f"{truncation:g}"


def _means_inside(slices: np.ndarray, bodies: np.ndarray) -> np.ndarray:
    return np.array([part[body].mean() for part, body in zip(slices, bodies, strict=True)])


class DiversityMetric(Metric):
    """The table of `diversity`, which `evaluation.evaluation` measures for the model alone."""

    @staticmethod
    def tables(content: Content) -> Iterable[MetricTable]:
        """One table."""
        found = content.get("diversity")
        if found is None:
            return
        columns = {
            "brightness_over_noises": Column("brightness, noise to noise", 4),
            "brightness_over_slices": Column("brightness, slice to slice", 4),
            "pairwise_distance": Column("distance of two noises", 4),
        }
        notes = [
            f"{found['noises']} noises for each of {counted(found['slices'], 'label map')}; "
            "standard deviations of a slice's mean intensity, and mean absolute difference, inside "
            "the body, intensities in [0, 1]"
        ]
        rows = [(content["model"]["name"], [found[name] for name in columns])]
        yield MetricTable("Diversity", list(columns.values()), rows, notes)

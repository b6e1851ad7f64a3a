"""Jumps between neighbouring slices: the flicker of volumes that are painted slice by slice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medusis_tf.metrics.measure import PatientValues
from medusis_tf.metrics.metric import Measure, Metric
from medusis_tf.metrics.similarity import to_unit_range
from medusis_tf.metrics.tables import Column, Content, MetricTable, results_of, summary_table

if TYPE_CHECKING:
    from medusis_tf.data.shards.labelled_subjects import LabelledSubject


@dataclass(frozen=True)
class VolumeConsistency:
    """Jumps between neighbouring slices, intensities in [0, 1].

    Attributes:
        brightness_jump: Mean absolute difference of the mean intensities of two neighbours, over
            the pixels that are body in both.
        pixel_jump: Mean absolute difference of the pixels of two neighbours, over the same pixels.
        pairs: Number of pairs of neighbouring slices with common body.
    """

    brightness_jump: float
    pixel_jump: float
    pairs: int


def volume_consistency(
    images: np.ndarray, bodies: np.ndarray, slice_indices: np.ndarray
) -> VolumeConsistency:
    """Measure the jumps between the slices of a volume.

    Args:
        images: `[slices, height, width]` in [0, 1].
        bodies: Body of each slice, same shape, bool.
        slice_indices: `[slices]`, ascending indices in the volume; slices with consecutive indices
            are neighbours.

    Returns:
        The jumps; NaN without neighbours.
    """
    brightness, pixels = [], []
    for first in np.flatnonzero(np.diff(slice_indices) == 1):
        common = bodies[first] & bodies[first + 1]
        if common.any():
            change = images[first + 1][common].astype(np.float64) - images[first][common]
            brightness.append(abs(change.mean()))
            pixels.append(np.abs(change).mean())
    if not pixels:
        return VolumeConsistency(np.nan, np.nan, 0)
    return VolumeConsistency(float(np.mean(brightness)), float(np.mean(pixels)), len(pixels))


class VolumeConsistencyMeasure:
    """Jumps of the brightness and of the pixels between neighbouring slices.

    With the real image of a subject, also the *flicker*: the ratio of the jump of the pixels to
    that of the true volume. Anatomy changes from slice to slice, too: a volume without flicker has
    a ratio of 1, a volume that is too smooth a smaller one.
    """

    def __init__(self) -> None:
        self._values = PatientValues()

    def update(self, subject: LabelledSubject, images: np.ndarray, seed: int = 0) -> None:
        """Add a volume."""
        found = self._measured(images, subject)
        self._values.add(subject.patient, "brightness_jump", [found.brightness_jump], seed)
        self._values.add(subject.patient, "pixel_jump", [found.pixel_jump], seed)
        if subject.image is not None:
            true_jump = self._measured(subject.image, subject).pixel_jump
            ratio = found.pixel_jump / true_jump if true_jump else np.nan
            self._values.add(subject.patient, "flicker", [ratio], seed)

    @staticmethod
    def _measured(images: np.ndarray, subject: LabelledSubject) -> VolumeConsistency:
        return volume_consistency(to_unit_range(images), subject.body, subject.slice_indices)

    def results(self) -> Mapping[str, Any]:
        """Metric to summary, over volumes instead of slices."""
        return self._values.summaries()


class VolumeConsistencyMetric(Metric):
    """Jumps from slice to slice, in `volume_consistency`."""

    def measures(self, is_model: bool = True) -> Mapping[str, Measure]:
        """See `Metric.measures`."""
        return {"volume_consistency": VolumeConsistencyMeasure()}

    @staticmethod
    def tables(content: Content) -> Iterable[MetricTable]:
        """One table."""
        columns = {"brightness_jump": Column("brightness", 4), "pixel_jump": Column("pixels", 4)}
        notes = ["between neighbouring slices, inside the body, intensities in [0, 1]"]
        found = results_of(content, "volume_consistency")
        if any(results.get("flicker", {}).get("patients") for _, results in found):
            columns["flicker"] = Column("flicker")
            notes.append(
                "flicker: jump of the pixels, divided by that of the true volume of the same "
                "patient; above 1, slices jump more than the anatomy; below 1, they are too alike"
            )
        title = "Jumps from slice to slice"
        yield summary_table(content, "volume_consistency", title, columns, notes)

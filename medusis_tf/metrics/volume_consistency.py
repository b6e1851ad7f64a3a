"""How much neighbouring slices of a volume jump: the flicker of volumes painted slice by slice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from medusis_tf.data.shards.labelled_subjects import LabelledSubject
from medusis_tf.metrics.measure import PatientValues
from medusis_tf.metrics.similarity import to_unit_range


@dataclass(frozen=True)
class VolumeConsistency:
    """Jumps between neighbouring slices, intensities in [0, 1].

    Attributes:
        brightness_jump: Mean absolute difference of two neighbours' mean intensity, over the
            pixels that are body in both: the brightness of all the slice.
        pixel_jump: Mean absolute difference of two neighbours, pixel by pixel, over the same.
        pairs: Of neighbouring slices with common body.
    """

    brightness_jump: float
    pixel_jump: float
    pairs: int


def volume_consistency(
    images: np.ndarray, bodies: np.ndarray, slice_indices: np.ndarray
) -> VolumeConsistency:
    """Measure a volume.

    Args:
        images: `[slices, height, width]` in [0, 1].
        bodies: Same shape, bool.
        slice_indices: `[slices]`, ascending places in the volume; only slices one apart are
            neighbours.

    Returns:
        The figures; NaN where there are no neighbours.
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
    """Jumps in brightness and of pixels, from slice to slice of a volume."""

    def __init__(self) -> None:
        self._values = PatientValues()

    def update(self, subject: LabelledSubject, pictures: np.ndarray) -> None:
        """Add a volume."""
        found = volume_consistency(to_unit_range(pictures), subject.body, subject.slice_indices)
        self._values.add(subject.patient, "brightness_jump", [found.brightness_jump])
        self._values.add(subject.patient, "pixel_jump", [found.pixel_jump])

    def results(self) -> Mapping[str, Any]:
        """Figure to summary; a value for each volume."""
        return self._values.summaries()

"""Structural similarity of volumes: windows of slices, rows and columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from medusis_tf.metrics.measure import PatientValues
from medusis_tf.metrics.metric import Measure, Metric
from medusis_tf.metrics.similarity import to_unit_range
from medusis_tf.metrics.structural_similarity import WINDOW, ssim_windows
from medusis_tf.metrics.tables import Column, Content, MetricTable, results_of

if TYPE_CHECKING:
    from medusis_tf.data.shards.labelled_subjects import LabelledSubject

_EDGE = WINDOW // 2
_SLICES_AT_ONCE = 32


def volume_ssim(image: np.ndarray, true_image: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Structural similarity of a volume and the real volume, data range 1.

    An 11x11x11 Gaussian window of sigma 1.5 voxels, population variances. In the whole volume it
    is the mean over the windows inside the volume. Inside a mask it is the mean of the SSIM map
    over the voxels of the mask, with the volume mirrored at its faces.

    Args:
        image: `[slices, height, width]` in [0, 1], sides of at least 11.
        true_image: Same shape.
        mask: Voxels to compare, same shape, bool; None for the whole volume.

    Returns:
        At most 1; NaN for an empty mask.

    Raises:
        ValueError: Shapes differ, or a side is too short.

    Checked against scikit-image (`structural_similarity` of volumes).
    """
    ssim_map = volume_ssim_map(image, true_image)
    values = _inner(ssim_map) if mask is None else ssim_map[mask]
    return float(values.mean()) if values.size else np.nan


def volume_ssim_map(image: np.ndarray, true_image: np.ndarray) -> np.ndarray:
    """The structural similarity around each voxel, with the volume mirrored at its faces.

    Works on a few slices at a time: the map and two padded volumes are all that grows with the
    number of slices.

    Args:
        image: `[slices, height, width]` in [0, 1], sides of at least 11.
        true_image: Same shape.

    Returns:
        `[slices, height, width]` float64, at most 1.

    Raises:
        ValueError: Shapes differ, or a side is too short.
    """
    if image.shape != true_image.shape or image.ndim != 3 or min(image.shape) < WINDOW:
        raise ValueError(
            "the SSIM of volumes needs two volumes [slices, height, width] of one shape, with "
            f"sides of at least {WINDOW}. Received: {image.shape}, {true_image.shape}"
        )
    padded, true_padded = (np.pad(each, _EDGE, mode="symmetric") for each in (image, true_image))
    ssim_map = np.empty(image.shape)
    for first in range(0, len(image), _SLICES_AT_ONCE):
        part = slice(first, first + _SLICES_AT_ONCE + WINDOW - 1)
        luminance, contrast = ssim_windows(padded[part], true_padded[part])
        ssim_map[first : first + _SLICES_AT_ONCE] = luminance * contrast
    return ssim_map


def neighbouring_slices(slice_indices: np.ndarray) -> Iterator[slice]:
    """Yield the runs of neighbouring slices of a volume, as parts of its array of slices.

    Args:
        slice_indices: `[slices]`, ascending indices in the volume; slices with consecutive indices
            are neighbours.
    """
    breaks = np.flatnonzero(np.diff(slice_indices) != 1) + 1
    for first, last in pairwise([0, *breaks.tolist(), len(slice_indices)]):
        yield slice(first, last)


def _inner(ssim_map: np.ndarray) -> np.ndarray:
    inside = slice(_EDGE, -_EDGE)
    return ssim_map[inside, inside, inside]


class VolumeSimilarityMeasure:
    """SSIM of each volume, of the whole and inside the body.

    If slices of a volume are missing, windows lie inside its runs of neighbouring slices. A volume
    without 11 neighbouring slices has no value.
    """

    def __init__(self) -> None:
        self._values = PatientValues()

    def update(self, subject: LabelledSubject, images: np.ndarray, seed: int = 0) -> None:
        """Add a volume; one without a real image is skipped."""
        if subject.image is None:
            return
        whole, inside = [np.empty(0)], [np.empty(0)]
        for run in neighbouring_slices(subject.slice_indices):
            pair = images[run], subject.image[run]
            if min(pair[0].shape) >= WINDOW:
                ssim_map = volume_ssim_map(*map(to_unit_range, pair))
                whole.append(_inner(ssim_map).ravel())
                inside.append(ssim_map[subject.body[run]])
        for name, parts in (("ssim", whole), ("body_ssim", inside)):
            values = np.concatenate(parts)
            mean = float(values.mean()) if values.size else np.nan
            self._values.add(subject.patient, name, [mean], seed)

    def results(self) -> Mapping[str, Any]:
        """Metric to summary, over volumes instead of slices."""
        return self._values.summaries(by_patient=True)


class VolumeSimilarityMetric(Metric):
    """SSIM of volumes, in `similarity/volume`; needs real images of the subjects."""

    def measures(self, is_model: bool = True) -> Mapping[str, Measure]:
        """See `Metric.measures`."""
        if not self.context.has_pairs:
            return {}
        return {"similarity/volume": VolumeSimilarityMeasure()}

    @staticmethod
    def tables(content: Content) -> Iterable[MetricTable]:
        """One table, if any volume has enough slices."""
        columns = {"ssim": Column("SSIM"), "body_ssim": Column("SSIM inside the body")}
        notes = [
            "of volumes instead of slices: windows of 11x11x11 voxels, Gaussian, sigma 1.5 voxels "
            "along each axis, whatever the spacing; in runs of at least 11 neighbouring slices"
        ]
        title = "Similarity to the true volume"
        # Evaluations of earlier versions have no volumes.
        found = [
            (name, results["volume"])
            for name, results in results_of(content, "similarity")
            if "volume" in results
        ]
        if any(volumes.get("ssim", {}).get("patients") for _, volumes in found):
            rows = [(name, [volumes.get(key) for key in columns]) for name, volumes in found]
            yield MetricTable(title, list(columns.values()), rows, notes)

"""Cuts through volumes along their axis, which show how slices fit together."""

from __future__ import annotations

import numpy as np

from medusis_tf.data.labels.body import AIR
from medusis_tf.data.shards.labelled_subjects import LabelledSubject
from medusis_tf.data.shards.spread import spread_centres


def cut_rows(label_map: np.ndarray, count: int) -> np.ndarray:
    """Rows of a volume to cut it at, evenly spread over those with foreground.

    Args:
        label_map: `[slices, height, width]` class ids, 0 for background.
        count: Number of cuts.

    Returns:
        At most `count` increasing indices of rows.
    """
    rows = np.flatnonzero((label_map != 0).any(axis=(0, 2)))
    return rows[spread_centres(count, len(rows))]


def cut(volume: np.ndarray, row: int, subject: LabelledSubject, outside: float = AIR) -> np.ndarray:
    """Cut a volume at a row, in true proportions and in the size of its slices.

    Slices are repeated, not interpolated, with the last one on top. What does not fit is left out
    at both ends.

    Args:
        volume: `[slices, height, width]` or `[slices, height, width, channels]`.
        row: Index of the row.
        subject: Subject that the volume belongs to.
        outside: Value beyond the volume.

    Returns:
        `[height, width]` or `[height, width, channels]`.
    """
    slices, height = volume.shape[:2]
    pixels_of_slice = subject.slice_mm / subject.spacing_mm[1]
    middle = (height - 1) / 2
    places = slices / 2 - (np.arange(height) - middle) / pixels_of_slice
    numbers = np.floor(places).astype(int)
    inside = (numbers >= 0) & (numbers < slices)
    shown = np.full((height, *volume.shape[2:]), outside, volume.dtype)
    shown[inside] = volume[numbers[inside], row]
    return shown

"""Panel of a few slices of synthetic volumes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medusis_tf.data.intensities.intensity import scale_intensity
from medusis_tf.data.shards.spread import spread_centres
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.panels import PanelRow, panel
from medusis_tf.serving.metadata import ModelMetadata

NUM_PREVIEW_ROWS = 4


def preview_slices(label_map: Volume) -> np.ndarray:
    """Indices of a few axial slices with foreground, spread over the body."""
    occupied = np.flatnonzero(label_map.array.any(axis=(0, 1)))
    if len(occupied) == 0:
        return np.array([label_map.shape[2] // 2])
    return occupied[spread_centres(NUM_PREVIEW_ROWS, len(occupied))]


def preview(
    label_map: Volume,
    shown: np.ndarray,
    previews: Mapping[str, np.ndarray],
    metadata: ModelMetadata,
) -> np.ndarray:
    """Panel of some slices of a label map and of the images made for it.

    Args:
        label_map: Class ids.
        shown: Indices of the slices.
        previews: `[x, y, shown]` intensities, by title.
        metadata: Metadata of the model.
    """
    rows = [
        PanelRow(
            label_map.array[:, :, z].T,
            {
                name: scale_intensity(array[:, :, place].T, metadata.intensity)
                for name, array in previews.items()
            },
            f"axial slice {z}",
        )
        for place, z in enumerate(shown)
    ]
    title = f"{metadata.title}: {label_map.path.name}"
    return panel(rows, metadata.classes, title)

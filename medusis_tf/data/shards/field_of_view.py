"""The field of view of volumes in their slices: beyond it, images are air and labels background."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medusis_tf.config.data import DataConfig
from medusis_tf.data.shards.manifest import SubjectRecord
from medusis_tf.data.shards.shards import Shards

# Axis of the slices in a volume in LPS order.
_SLICE_AXIS = {"sagittal": 0, "coronal": 1, "axial": 2}


def visible_pixels(record: SubjectRecord, data: DataConfig) -> np.ndarray:
    """Pixels of the slices that lie inside the volume of a subject, `[height, width]` bool."""
    shape = list(record.volume_shape)
    shape[_SLICE_AXIS[data.axis]] = 1
    grid = replace(record.grid(data), volume_shape=(shape[0], shape[1], shape[2]))
    return grid.label_slices(np.ones(grid.volume_shape, np.uint8))[0].astype(bool)


def views_of_slices(shards: Shards, data: DataConfig) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Fields of view of all slices, each distinct mask once.

    Args:
        shards: Prepared slices.
        data: Configuration of the slices.

    Returns:
        `[masks, height, width]` uint8 of 0 and 1; and for the kinds `label_map` and `image` the
        number of the mask of each slice in the file of the kind, `[slices]` int32.
    """
    records = shards.records.subjects
    masks, mask_of = np.unique(
        [visible_pixels(record, data) for record in records], axis=0, return_inverse=True
    )
    numbers = {}
    for kind in ("label_map", "image"):
        holders = [n for n, record in enumerate(records) if kind in record.kinds]
        count = sum(records[n].num_slices for n in holders)
        numbers[kind] = np.zeros(count, np.int32)
        for number in holders:
            first = records[number].first_record[kind]
            numbers[kind][first : first + records[number].num_slices] = mask_of[number]
    return masks.astype(np.uint8), numbers

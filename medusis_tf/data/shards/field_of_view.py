"""The field of view of volumes in their slices: beyond it, images are air and labels background."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medusis_tf.config.data import DataConfig
from medusis_tf.data.shards.manifest import SubjectRecord
from medusis_tf.data.shards.shards import Shards
from medusis_tf.data.slicing.slices import SLICE_AXIS, SliceGrid


def visible_pixels(record: SubjectRecord, data: DataConfig) -> np.ndarray:
    """Pixels of the slices that lie inside the volume of a subject, `[height, width]` bool."""
    return visible_in(record.grid(data))


def visible_in(grid: SliceGrid) -> np.ndarray:
    """Pixels of the slices that lie inside the volume of a grid, `[height, width]` bool."""
    shape = list(grid.volume_shape)
    shape[SLICE_AXIS[grid.axis]] = 1
    grid = replace(grid, volume_shape=(shape[0], shape[1], shape[2]))
    return grid.label_slices(np.ones(grid.volume_shape, np.uint8))[0].astype(bool)


def continue_labels(label_map: np.ndarray, field_of_view: np.ndarray) -> np.ndarray:
    """Continue the labels beyond the field of view: each pixel outside gets the nearest one inside.

    Args:
        label_map: `[..., height, width]` integers.
        field_of_view: `[height, width]` bool, a rectangle of ones.

    Returns:
        Labels of the same shape and type.
    """
    for axis in (-2, -1):
        inside = np.flatnonzero(field_of_view.any(axis=-3 - axis))
        if inside.size:
            source = np.clip(np.arange(label_map.shape[axis]), inside[0], inside[-1])
            label_map = np.take(label_map, source, axis=axis)
    return label_map


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

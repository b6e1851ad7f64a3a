"""What methods paint and are judged on: the slices of one subject."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from medusis_tf.config.data import DataConfig, Split
from medusis_tf.data.slicing.slices import SliceGrid

if TYPE_CHECKING:
    from medusis_tf.data.shards.manifest import SubjectRecord
    from medusis_tf.data.shards.shards import Shards


@dataclass(frozen=True, eq=False)
class LabelledSubject:
    """The slices of a subject with a label map.

    Attributes:
        name: As in the configuration.
        patient: Whose volume it is; several subjects may be of one patient.
        label_map: `[slices, height, width]` class ids.
        image: `[slices, height, width]` in [-1, 1], the true image; None if there is none.
        slice_indices: `[slices]`, places of the slices in their volume.
        spacing_mm: Between rows and between columns.
    """

    name: str
    patient: str
    label_map: np.ndarray
    image: np.ndarray | None
    slice_indices: np.ndarray
    spacing_mm: tuple[float, float]

    @cached_property
    def body(self) -> np.ndarray:
        """`[slices, height, width]` bool, where the label map is not background."""
        return self.label_map != 0

    def every(self, step: int) -> LabelledSubject:
        """The same subject with every so manieth of its slices."""
        return self._some(slice(None, None, step))

    def one(self, place: int) -> LabelledSubject:
        """The same subject with one of its slices."""
        return self._some(slice(place, place + 1))

    def at(self, places: np.ndarray) -> LabelledSubject:
        """The same subject with the slices at `places`, `[count]`."""
        return self._some(places)

    def _some(self, part: slice | np.ndarray) -> LabelledSubject:
        return replace(
            self,
            label_map=self.label_map[part],
            image=None if self.image is None else self.image[part],
            slice_indices=self.slice_indices[part],
        )


class LabelledSubjects:
    """The subjects of a split that have a label map; one at a time is held in memory.

    Args:
        shards: Prepared slices.
        data: Their configuration.
        split: Whose subjects.
    """

    def __init__(self, shards: Shards, data: DataConfig, split: Split):
        self._shards, self._data = shards, data
        self.records: list[SubjectRecord] = [
            record
            for record in shards.records.subjects
            if record.split == split and "label_map" in record.kinds and record.num_slices > 0
        ]

    def __iter__(self) -> Iterator[LabelledSubject]:
        for record in self.records:
            yield self.read(record)

    def __len__(self) -> int:
        return len(self.records)

    @property
    def has_pairs(self) -> bool:
        """Whether a subject has its true image."""
        return any("image" in record.kinds for record in self.records)

    def read(self, record: SubjectRecord) -> LabelledSubject:
        """Read one subject.

        Raises:
            ValueError: It has no label map.
        """
        slices = self._shards.read(record)
        if slices.label_map is None:
            raise ValueError(f"subject {record.subject} has no label map")
        data = self._data
        grid = SliceGrid(
            data.image_size,
            data.pixel_spacing_mm,
            record.volume_shape,
            record.volume_spacing_mm,
            data.axis,
        )
        return LabelledSubject(
            record.subject,
            record.patient,
            slices.label_map,
            slices.image,
            slices.slice_indices,
            grid.pixel_mm,
        )

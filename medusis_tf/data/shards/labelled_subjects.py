"""The slices of subjects with a label map, for methods to paint and for evaluation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from medusis_tf.config.data import DataConfig, Split
from medusis_tf.data.labels.body import AIR
from medusis_tf.data.shards.field_of_view import continue_labels, visible_pixels

if TYPE_CHECKING:
    from medusis_tf.data.shards.manifest import SubjectRecord
    from medusis_tf.data.shards.shards import Shards


@dataclass(frozen=True, eq=False)
class LabelledSubject:
    """The slices of a subject with a label map.

    Attributes:
        name: Name in the configuration.
        patient: Patient of the volume; several subjects may belong to one patient.
        label_map: `[slices, height, width]` class ids.
        image: `[slices, height, width]` in [-1, 1], the real image; None if there is none.
        slice_indices: `[slices]`, indices of the slices in their volume.
        spacing_mm: Spacing of rows and of columns.
        field_of_view: `[height, width]` bool, inside the volume; None if that is everywhere.
        whole: The subject with all slices, of which this has some; None if it has all itself.
        places: `[slices]`, places of the slices among all; None if it has all.
        slice_mm: Distance between neighbouring slices of the volume.
    """

    name: str
    patient: str
    label_map: np.ndarray
    image: np.ndarray | None
    slice_indices: np.ndarray
    spacing_mm: tuple[float, float]
    field_of_view: np.ndarray | None = None
    whole: LabelledSubject | None = None
    places: np.ndarray | None = None
    slice_mm: float = 1.0

    @cached_property
    def body(self) -> np.ndarray:
        """`[slices, height, width]` bool, true where the label map is not background."""
        return self.label_map != 0

    def with_air_outside(self, images: np.ndarray) -> np.ndarray:
        """Images `[slices, height, width]` with air outside the field of view."""
        if self.field_of_view is None or self.field_of_view.all():
            return images
        return np.where(self.field_of_view, images, np.array(AIR, images.dtype))

    @property
    def continued_label_map(self) -> np.ndarray:
        """The label map with labels that continue beyond the field of view."""
        if self.field_of_view is None:
            return self.label_map
        return continue_labels(self.label_map, self.field_of_view)

    def every(self, step: int) -> LabelledSubject:
        """The same subject with every `step`-th slice."""
        return self._some(slice(None, None, step))

    def one(self, place: int) -> LabelledSubject:
        """The same subject with one slice."""
        return self._some(slice(place, place + 1))

    def at(self, places: np.ndarray) -> LabelledSubject:
        """The same subject with the slices at `places`, `[count]`."""
        return self._some(places)

    def _some(self, part: slice | np.ndarray) -> LabelledSubject:
        places = np.arange(len(self.label_map)) if self.places is None else self.places
        return replace(
            self,
            label_map=self.label_map[part],
            image=None if self.image is None else self.image[part],
            slice_indices=self.slice_indices[part],
            whole=self.whole or self,
            places=places[part],
        )


class LabelledSubjects:
    """The subjects of a split that have a label map. One at a time is held in memory.

    Args:
        shards: Prepared slices.
        data: Configuration of the slices.
        split: Split of the subjects.
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
        """Whether any subject has its real image."""
        return any("image" in record.kinds for record in self.records)

    def read(self, record: SubjectRecord) -> LabelledSubject:
        """Read one subject.

        Raises:
            ValueError: It has no label map.
        """
        slices = self._shards.read(record)
        if slices.label_map is None:
            raise ValueError(f"subject {record.subject} has no label map")
        grid = record.grid(self._data)
        return LabelledSubject(
            record.subject,
            record.patient,
            slices.label_map,
            slices.image,
            slices.slice_indices,
            grid.pixel_mm,
            visible_pixels(record, self._data),
            slice_mm=grid.slice_mm,
        )

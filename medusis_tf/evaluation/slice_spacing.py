"""The distance between the slices of a subject."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medusis_tf.config.data import Axis
    from medusis_tf.data.shards.manifest import SubjectRecord

# Axis of a volume in LPS order that the slices are counted along.
_SLICE_AXIS: dict[Axis, int] = {"axial": 2, "coronal": 1, "sagittal": 0}


def slice_spacing_mm(record: SubjectRecord, axis: Axis) -> float:
    """Distance between neighbouring slices of a subject in mm: slices with consecutive indices.

    Args:
        record: Subject.
        axis: Orientation of the slices, `data.axis`.
    """
    return record.volume_spacing_mm[_SLICE_AXIS[axis]]

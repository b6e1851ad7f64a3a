"""The distance between slices, which must be the same for networks of volumes."""

from __future__ import annotations

from collections.abc import Sequence

from medusis_tf.config.data import DataConfig
from medusis_tf.data.shards.manifest import SubjectRecord
from medusis_tf.data.shards.shards import Shards
from medusis_tf.errors import UserError

# Slices of 3 and 3.3 mm look alike along the axis, those of 3 and 4 mm do not.
_LARGEST_RATIO = 1.25


def check_slices_fit(
    records: Sequence[SubjectRecord], data: DataConfig, slice_mm: float | None
) -> None:
    """Check that slices are as far apart as those that a model was trained on.

    Args:
        records: Subjects.
        data: Configuration of their slices.
        slice_mm: Distance that the model needs; None for any.

    Raises:
        UserError: They are not, within a quarter.
    """
    if slice_mm is None:
        return
    for record in records:
        found = record.grid(data).slice_mm
        if max(found / slice_mm, slice_mm / found) > _LARGEST_RATIO:
            raise UserError(
                f"the model paints volumes with slices {slice_mm:.4g} mm apart, and those of "
                f"{record.subject} are {found:.4g} mm apart. Resample the volume to that distance."
            )


def check_slice_spacing(shards: Shards, data: DataConfig) -> None:
    """Check that the slices of all volumes that are trained on or validated are equally far apart.

    Args:
        shards: Prepared slices.
        data: Their configuration.

    Raises:
        UserError: They are not, within a quarter.
    """
    found = {
        record.subject: record.grid(data).slice_mm
        for record in shards.records.subjects
        if record.split != "test" and record.num_slices > 0
    }
    nearest, farthest = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
    if found[farthest] > _LARGEST_RATIO * found[nearest]:
        raise UserError(
            f"volumes needs slices that are equally far apart. Those of {nearest} are "
            f"{found[nearest]:.4g} mm apart, those of {farthest} {found[farthest]:.4g} mm. "
            "Resample the volumes to one spacing, or leave some out."
        )

"""The distance between slices, which must be the same for networks of volumes."""

from __future__ import annotations

from medusis_tf.config.data import DataConfig
from medusis_tf.data.shards.shards import Shards
from medusis_tf.errors import UserError

# Slices of 3 and 3.3 mm look alike along the axis, those of 3 and 4 mm do not.
_LARGEST_RATIO = 1.25


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

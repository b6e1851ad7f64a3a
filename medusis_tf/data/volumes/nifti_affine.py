"""The affine of a NIfTI header, and what in it is suspicious."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.stored_array import unknown_orientation
from medusis_tf.data.volumes.volume import axis_codes, grid_warnings, spans_space
from medusis_tf.errors import UserError

# Headers that programs write as float32, or as text, are not damaged if they are off by this.
ROUNDING = 1e-3
_SAME_SIZE = 0.01
_UNITS = {1: "metres", 3: "micrometres"}


def checked_affine(
    fields: Any, path: Path, config: ReadingConfig, warnings: list[str]
) -> np.ndarray:
    """The affine of a NIfTI header, from stored indices to RAS+ millimetres.

    Args:
        fields: nibabel header.
        path: Source file, for error messages.
        config: Reading options.
        warnings: List to which suspicious properties are added.

    Raises:
        UserError: The header has no orientation, or an invalid one.
    """
    sizes = fields["pixdim"][1:4]
    _round(fields)
    if int(fields["sform_code"]) > 0:
        affine = fields.get_sform()
    else:
        if not np.all(sizes > 0):
            raise UserError(
                f"{path} has voxels of zero or negative size: pixdim {sizes.tolist()}. "
                "Set it from the source of the data."
            )
        if int(fields["qform_code"]) > 0:
            affine = fields.get_qform()
        else:
            why = "sform_code and qform_code are both 0"
            affine, warning = unknown_orientation(path, why, sizes, config)
            warnings.append(warning)
    if not spans_space(affine):
        raise UserError(
            f"{path} has an affine that is not invertible: {affine[:3].tolist()}. "
            "Set it from the source of the data."
        )
    warnings.extend(_size_warnings(fields, affine))
    return affine


def _round(fields: Any) -> None:
    """Undo what float32 did to a qform, in place: a sign and a unit quaternion."""
    fields["pixdim"][0] = -1 if fields["pixdim"][0] < 0 else 1  # the standard's rule, also for 0
    names = [f"quatern_{letter}" for letter in "bcd"]
    length = float(np.linalg.norm([float(fields[name]) for name in names]))
    if 1 < length < 1 + ROUNDING:
        for name in names:
            fields[name] = fields[name] / length * (1 - 1e-7)


def _size_warnings(fields: Any, affine: np.ndarray) -> Iterator[str]:
    unit = _UNITS.get(int(fields["xyzt_units"]) & 7)
    if unit is not None:
        yield f"Its header gives lengths in {unit}; they are read as millimetres."
    if (other := _qform_axes(fields)) not in (None, axis_codes(affine)):
        yield (
            f"Its sform, which is used, has the axes {axis_codes(affine)}, but its qform {other}: "
            "programs that use the qform show it mirrored or rotated."
        )
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    yield from _contradiction(fields, sizes)
    yield from grid_warnings(affine)


def _contradiction(fields: Any, sizes: np.ndarray) -> Iterator[str]:
    others = np.asarray(fields["pixdim"][1:4], np.float64)
    if int(fields["sform_code"]) <= 0 or not np.all(others > 0) or not np.isfinite(others).all():
        return
    if np.abs(sizes / others - 1).max() > _SAME_SIZE:
        ours, theirs = (" x ".join(f"{size:.4g}" for size in s) for s in (sizes, others))
        both = "pixdim and qform say" if int(fields["qform_code"]) > 0 else "pixdim says"
        yield (
            f"Its sform, which is used, has voxels of {ours} mm, but its {both} {theirs} mm. If "
            "that is right, correct the sform."
        )


def _qform_axes(fields: Any) -> str | None:
    """Axes of a valid qform, if the header has one beside the sform."""
    quaternion = np.array([fields[f"quatern_{letter}"] for letter in "bcd"], np.float64)
    given = int(fields["sform_code"]) > 0 and int(fields["qform_code"]) > 0
    valid = quaternion @ quaternion <= 1  # false for NaN
    if not given or not valid or not np.all(fields["pixdim"][1:4] > 0):
        return None
    qform = fields.get_qform()
    return axis_codes(qform) if spans_space(qform) else None

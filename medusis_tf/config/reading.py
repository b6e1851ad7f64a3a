"""Configuration of how volumes are read and which defects are tolerated."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from medusis_tf.config.section import Section


class ReadingConfig(Section):
    """How to handle volumes with incomplete headers or invalid values."""

    not_finite: Literal["error", "replace"] = "error"
    """How to handle NaN and infinite voxels.

    `error` rejects the volume. `replace` sets the voxels of an image to the lowest finite value of
    the volume, and those of a label map to 0, background.
    """
    assume_axes: Annotated[str, Field(pattern="^[LRAPSI]{3}$")] | None = None
    """Orientation of volumes whose headers do not define one, as three letters: `RAS` or `LPS`.

    Without it, such volumes are an error.
    """
    maximum_voxels: PositiveInt = 2**29
    """Largest volume that is read, in voxels. It protects against corrupt headers.

    Raise it for larger volumes.
    """

"""Configuration of how volumes are read, and what is let through."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from medusis_tf.config.section import Section


class ReadingConfig(Section):
    """What to do with volumes whose headers or values are doubtful.

    `not_finite`: voxels of images that are NaN or infinite are an error, or become the volume's
    least value; in label maps they are always an error.
    `assume_axes`: three letters such as `RAS` or `LPS`, the axes of volumes whose headers do not
    say where they lie; without it they are an error. `maximum_voxels`: more are not read.
    """

    not_finite: Literal["error", "replace"] = "error"
    assume_axes: Annotated[str, Field(pattern="^[LRAPSI]{3}$")] | None = None
    maximum_voxels: PositiveInt = 2**29

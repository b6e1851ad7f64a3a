"""Configuration of the augmentation of training slices."""

from typing import Annotated

from pydantic import Field

from medusis_tf.config.section import Section


class AugmentationConfig(Section):
    """Random augmentation of training slices, drawn anew for every slice and step.

    Mirroring, rotation, scaling and translation are applied in a single resampling step: nearest
    neighbour for label maps, linear for images. `gamma` and `bias_field` change the brightness of
    images only.
    """

    flip: bool = True
    """Whether to mirror half of the slices left to right.

    Turn it off where left and right must not be confused, for example with separate classes for
    left and right organs.
    """
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Largest rotation in either direction, in degrees. 0 turns rotation off."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest change of size, as a fraction: 0.1 scales by 0.9 to 1.1. 0 turns scaling off."""
    translation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest shift in any direction, as a fraction of the height and width of a slice.

    0 turns translation off.
    """
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest change of contrast: a gamma curve with an exponent from 1/(1 + gamma) to 1 + gamma.

    0 turns it off. Use it where scanners or protocols differ in contrast.
    """
    bias_field: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest smooth change of brightness across a slice, as from a receive coil.

    The image is multiplied by a field from 1 - bias_field to 1 + bias_field. 0 turns it off.
    """

    @property
    def moves(self) -> bool:
        """Whether slices are rotated, scaled or translated."""
        return max(self.rotation_degrees, self.scale, self.translation) > 0

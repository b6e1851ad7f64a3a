"""Configuration of the random changes of training slices."""

from typing import Annotated

from pydantic import Field

from medusis_tf.config.section import Section


class AugmentationConfig(Section):
    """Random changes of the slices of training, drawn anew for every slice and step.

    A slice is moved in one go: mirrored left to right, turned, scaled and shifted, labels by
    nearest neighbour and images linearly. `gamma` and `bias_field` change the brightness of
    images only. 0 leaves a change out.
    """

    flip: bool = True
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    translation: Annotated[float, Field(ge=0, lt=1)] = 0.0
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.0
    bias_field: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @property
    def moves(self) -> bool:
        """Whether slices are turned, scaled or shifted."""
        return max(self.rotation_degrees, self.scale, self.translation) > 0

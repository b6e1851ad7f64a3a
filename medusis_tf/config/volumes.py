"""Configuration of volumes: training samples of neighbouring slices instead of single slices."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, model_validator

from medusis_tf.config.section import Section

MOST_SLICES = 256


class VolumesConfig(Section):
    """How volumes are synthesized as such, not slice by slice.

    The slices of all training volumes must be equally far apart. `medusis synthesize` resamples
    other volumes along their axis, and back.
    """

    networks: Literal["2.5d", "3d"]
    """The kind of the networks.

    `2.5d`: the generator paints a slice from the label maps of neighbouring slices, the
    discriminator sees adjacent slices together, the segmenter single ones. `3d`: all networks
    have kernels along the axis too. Their `num_blocks`, `num_levels` and `num_strided` halve the
    depth as well as height and width.
    """
    depth: Annotated[int, Field(ge=2, le=MOST_SLICES)] = 3
    """Number of neighbouring slices of a training sample.

    With `3d` it must be divisible as height and width are. A batch has `training.batch_size`
    samples, so the slices of a batch are their product.
    """
    context: Annotated[int, Field(ge=1, le=15)] = 3
    """Number of neighbouring label maps, an odd number, from which `2.5d` paints the one in their
    middle. 1 paints from its own label map alone.
    """
    adjacent: Annotated[int, Field(ge=1, le=MOST_SLICES)] = 3
    """Number of adjacent slices that the discriminator of `2.5d` sees together, at most `depth`."""
    noise_length: NonNegativeFloat = 0.0
    """Number of slices along which random fields change in `2.5d`.

    They are those of `generator.pixel_noise`, or the noise of a diffusion model. Fields of slices
    that far apart are independent, and change smoothly between. With 0, all slices of a volume have
    the same fields, and texture runs straight along the axis.
    """

    @model_validator(mode="after")
    def _check_slices(self) -> VolumesConfig:
        if self.context % 2 == 0:
            raise ValueError(f"context must be an odd number. Received: {self.context}")
        if 0 < self.noise_length < 1:
            raise ValueError(
                "noise_length must be 0 or at least 1, with which neighbouring slices are already "
                f"independent. Received: {self.noise_length}"
            )
        if self.networks == "3d":
            fields = type(self).model_fields
            names = ("context", "adjacent", "noise_length")
            # A saved configuration states the defaults.
            if given := [n for n in names if getattr(self, n) != fields[n].default]:
                raise ValueError(f"{', '.join(given)}: of networks: 2.5d only")
        elif self.adjacent > self.depth:
            raise ValueError(
                f"adjacent must be at most depth. Received: {self.adjacent} and {self.depth}"
            )
        return self

    @property
    def rank(self) -> int:
        """Number of axes of the networks' images."""
        return 3 if self.networks == "3d" else 2

    @property
    def margin(self) -> int:
        """Number of label maps that the generator needs before and after the slices it paints."""
        return 0 if self.networks == "3d" else self.context // 2

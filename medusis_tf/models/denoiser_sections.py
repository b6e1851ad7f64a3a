"""Configuration of the denoiser, which builds its network.

It is separate from the model, so that reading a configuration does not import TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from medusis_tf.models.image_sizes import denoiser_stride
from medusis_tf.models.sections import StridedSection

if TYPE_CHECKING:
    from medusis_tf.models.denoisers.unet import UNetDenoiser


class UNetDenoiserConfig(StridedSection):
    """A U-Net that estimates the Haar bands of an image from noisy ones."""

    name: Literal["unet"] = "unet"
    """Selects this denoiser, the only one so far."""
    base_channels: Annotated[int, Field(ge=8, le=512, multiple_of=8)] = 32
    """Channels at half the image size. Each further level has as many more. Divisible by 8.

    The main setting for size and speed: 32 trains on a laptop.
    """
    num_levels: Annotated[int, Field(ge=2, le=7)] = 3
    """Number of resolutions. The first is half of the image.

    With N levels, height and width of a slice must be divisible by 2^N.
    """
    num_blocks: Annotated[int, Field(ge=1, le=8)] = 2
    """Residual blocks of each level, on the way down and on the way up."""

    @property
    def stride(self) -> int:
        """Number by which height and width of an image must be divisible."""
        return denoiser_stride(self.num_levels)

    def images_only(self) -> str | None:
        """The setting or network that is for images and not for volumes; None if there is none."""
        return "the denoiser"

    def build(self, image_channels: int, condition_channels: int) -> UNetDenoiser:
        """Build the denoiser with its weights.

        Args:
            image_channels: Channels of the image.
            condition_channels: Channels of the condition, at half the image size; 0 for none.
        """
        from medusis_tf.models.denoisers.unet import UNetDenoiser

        settings = self.model_dump(exclude={"name"})
        denoiser = UNetDenoiser(image_channels, condition_channels, **settings, name="denoiser")
        denoiser.build((None, None, None, denoiser.num_bands))
        return denoiser

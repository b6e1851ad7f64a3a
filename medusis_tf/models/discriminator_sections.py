"""Configuration of the discriminators. Each section builds its own network.

The sections are separate from the models, so that reading a configuration does not import
TensorFlow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, PositiveInt

from medusis_tf.config.section import Channels, Section
from medusis_tf.models.image_sizes import (
    WHOLE_IMAGE_SIZES,
    is_whole_image_size,
    patch_discriminator_stride,
)
from medusis_tf.models.sections import StridedSection

if TYPE_CHECKING:
    from medusis_tf.models.discriminators.ensemble import EnsembleDiscriminator
    from medusis_tf.models.discriminators.image import ImageDiscriminator


class DiscriminatorSection(Section, ABC):
    """Settings that all discriminators share."""

    base_channels: Channels  # described where the default is
    max_channels: Channels = 512
    """Upper limit of the channels at any resolution."""

    @abstractmethod
    def check_image_size(self, image_size: tuple[int, ...]) -> None:
        """Raise a `ValueError` that names the supported sizes if this one is not supported."""

    @abstractmethod
    def network(self) -> type[ImageDiscriminator]:
        """Return the class of the network."""

    def build(
        self, image_size: tuple[int, ...], image_channels: int
    ) -> ImageDiscriminator | EnsembleDiscriminator:
        """Build the discriminator with its weights, for images or volumes of one size."""
        settings = self.model_dump(exclude={"name"})
        discriminator = self.network()(image_size, image_channels, **settings, name="discriminator")
        discriminator.build((None, *image_size, image_channels))
        return discriminator


class WholeImageDiscriminatorSection(DiscriminatorSection):
    """Settings that all discriminators with one logit per image share."""

    group_size: PositiveInt = 4
    """Largest group of images over which the minibatch standard deviation is computed.

    It shows the discriminator how much the images of a batch vary. 1 turns it off.
    """

    def check_image_size(self, image_size: tuple[int, ...]) -> None:
        """Raise a `ValueError` that names the supported sizes if this one is not supported."""
        if not is_whole_image_size(image_size):
            raise ValueError(WHOLE_IMAGE_SIZES)


class WaveletDiscriminatorConfig(WholeImageDiscriminatorSection):
    """Classifies an image by its Haar wavelet bands at every scale, with one logit per image.

    The default, with the sizes of the thesis. Follows SWAGAN, https://arxiv.org/abs/2102.06108.
    """

    name: Literal["wavelet"] = "wavelet"
    """Selects this discriminator. It is the default: a section without `name` has this one."""
    base_channels: Channels = 128
    """Channels at half the image size, times 4 at each further scale, up to `max_channels`."""

    def network(self) -> type[ImageDiscriminator]:
        """Return the class of the network."""
        from medusis_tf.models.discriminators.wavelet import WaveletDiscriminator

        return WaveletDiscriminator


class ResidualDiscriminatorConfig(WholeImageDiscriminatorSection):
    """Classifies an image by its pixels with residual blocks, with one logit per image.

    It works at full resolution and needs more memory than `wavelet` with the same channels.
    Follows StyleGAN2, https://arxiv.org/abs/1912.04958.
    """

    name: Literal["residual"]
    """Selects this discriminator."""
    base_channels: Channels = 64
    """Channels at full resolution, doubled at each halving, up to `max_channels`."""

    def network(self) -> type[ImageDiscriminator]:
        """Return the class of the network."""
        from medusis_tf.models.discriminators.residual import ResidualDiscriminator

        return ResidualDiscriminator


class PatchDiscriminatorConfig(StridedSection, DiscriminatorSection):
    """Classifies overlapping patches of an image, with one logit per patch.

    It sees texture, but not where in the body a patch lies. Follows pix2pix,
    https://arxiv.org/abs/1611.07004.
    """

    name: Literal["patch"]
    """Selects this discriminator."""
    base_channels: Channels = 64
    """Channels of the first convolution, doubled at each further one, up to `max_channels`."""
    num_strided: Annotated[int, Field(ge=1, le=5)] = 3
    """Number of convolutions that halve the resolution. It determines the size of a patch.

    2 gives patches of 34 pixels, 3 of 70 and 4 of 142, one every 4, 8 or 16 pixels.
    """

    @property
    def stride(self) -> int:
        """Number by which all sides of an image must be divisible."""
        return patch_discriminator_stride(self.num_strided)

    def network(self) -> type[ImageDiscriminator]:
        """Return the class of the network."""
        from medusis_tf.models.discriminators.patch import PatchDiscriminator

        return PatchDiscriminator


def _named(values: object) -> object:
    # A section without a name is the default one, so that it can set sizes alone.
    return {"name": "wavelet", **values} if isinstance(values, dict) else values


Member = Annotated[
    WaveletDiscriminatorConfig | ResidualDiscriminatorConfig | PatchDiscriminatorConfig,
    Field(discriminator="name"),
    BeforeValidator(_named),
]


class EnsembleDiscriminatorConfig(Section):
    """Several discriminators whose losses are averaged, usually of whole images and of patches.

    The first sees the anatomy, the second the texture. Alone, a discriminator of whole images
    overfits the layout of few real images.
    """

    name: Literal["ensemble"]
    """Selects this discriminator."""
    members: Annotated[tuple[Member, ...], Field(min_length=2)]
    """The discriminators, each a section like `discriminator`."""

    def check_image_size(self, image_size: tuple[int, ...]) -> None:
        """Raise a `ValueError` that names the supported sizes if this one is not supported."""
        for member in self.members:
            member.check_image_size(image_size)

    def build(self, image_size: tuple[int, ...], image_channels: int) -> EnsembleDiscriminator:
        """Build the discriminators with their weights, for images or volumes of one size."""
        from medusis_tf.models.discriminators.ensemble import EnsembleDiscriminator

        members = [member.build(image_size, image_channels) for member in self.members]
        ensemble = EnsembleDiscriminator(members, name="discriminator")
        ensemble.build((None, *image_size, image_channels))
        return ensemble

"""Configuration of the networks: each section builds its own.

The sections stand apart from the models so that reading a configuration does not start TensorFlow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from medusis_tf.config.section import Section

if TYPE_CHECKING:
    from medusis_tf.models.discriminators.wavelet import WaveletDiscriminator
    from medusis_tf.models.generators.conditional import ConditionalGenerator
    from medusis_tf.models.segmenters.unet import UNetSegmenter


class StridedSection(Section, ABC):
    """A network that halves, or doubles, an image a number of times."""

    @property
    @abstractmethod
    def stride(self) -> int:
        """What both sides of an image must be divisible by."""

    def check_image_size(self, image_size: tuple[int, int]) -> None:
        """Raise a `ValueError` that says which sizes the network takes, if not this one."""
        if any(side % self.stride for side in image_size):
            raise ValueError(f"sides divisible by {self.stride}")


class GeneratorSection(StridedSection):
    """What the generators share; the defaults are the thesis's size."""

    base_channels: PositiveInt
    noise_dim: NonNegativeInt = 64
    num_blocks: Annotated[int, Field(ge=2, le=8)] = 6
    spade_channels: PositiveInt = 128

    @abstractmethod
    def network(self) -> type[ConditionalGenerator]:
        """The class of the network."""

    def build(
        self, num_classes: int, image_channels: int, synchronized: bool
    ) -> ConditionalGenerator:
        """The generator, its batch norm synchronised over replicas if asked."""
        settings = self.model_dump(exclude={"name"})
        settings.update(image_channels=image_channels, synchronized=synchronized)
        return self.network()(num_classes, **settings, name="generator")


class OASISGeneratorConfig(GeneratorSection):
    """SPADE residual generator with noise."""

    name: Literal["oasis"]
    base_channels: PositiveInt = 64

    @property
    def stride(self) -> int:
        """See `StridedSection`."""
        return 2 ** (self.num_blocks - 1)

    def network(self) -> type[ConditionalGenerator]:
        """See `GeneratorSection`."""
        from medusis_tf.models.generators.oasis import OASISGenerator

        return OASISGenerator


class WaveletGeneratorConfig(GeneratorSection):
    """SPADE generator on Haar bands with noise."""

    name: Literal["wavelet"]
    base_channels: PositiveInt = 16

    @property
    def stride(self) -> int:
        """See `StridedSection`."""
        return 2**self.num_blocks

    def network(self) -> type[ConditionalGenerator]:
        """See `GeneratorSection`."""
        from medusis_tf.models.generators.wavelet import WaveletGenerator

        return WaveletGenerator


class WaveletDiscriminatorConfig(Section):
    """Discriminator on Haar bands at every scale; the defaults are the thesis's size."""

    name: Literal["wavelet"] = "wavelet"
    base_channels: PositiveInt = 128
    max_channels: PositiveInt = 512
    group_size: PositiveInt = 4

    def check_image_size(self, image_size: tuple[int, int]) -> None:
        """Raise a `ValueError` that says which sizes the network takes, if not this one."""
        short, long = sorted(image_size)
        if short < 8 or short & (short - 1) or long % (short // 4):
            raise ValueError(
                "a short side that is a power of two and a long side divisible by a quarter of it"
            )

    def build(self, image_size: tuple[int, int], image_channels: int) -> WaveletDiscriminator:
        """The discriminator of images of one size."""
        from medusis_tf.models.discriminators.wavelet import WaveletDiscriminator

        return WaveletDiscriminator(
            image_size,
            image_channels,
            base_channels=self.base_channels,
            max_channels=self.max_channels,
            group_size=self.group_size,
            name="discriminator",
        )


class UNetSegmenterConfig(StridedSection):
    """Residual U-Net that finds the label map in an image; the defaults are the thesis's size."""

    name: Literal["unet"] = "unet"
    base_channels: PositiveInt = 64
    num_levels: Annotated[int, Field(ge=2, le=8)] = 6

    @property
    def stride(self) -> int:
        """See `StridedSection`."""
        return 2**self.num_levels

    def build(self, num_classes: int, image_channels: int) -> UNetSegmenter:
        """The segmenter."""
        from medusis_tf.models.segmenters.unet import UNetSegmenter

        return UNetSegmenter(
            num_classes,
            image_channels,
            base_channels=self.base_channels,
            num_levels=self.num_levels,
            name="segmenter",
        )


GeneratorConfig = Annotated[
    OASISGeneratorConfig | WaveletGeneratorConfig, Field(discriminator="name")
]
DiscriminatorConfig = WaveletDiscriminatorConfig
SegmenterConfig = UNetSegmenterConfig

"""Configuration of the networks: each section builds its own.

The sections stand apart from the models so that reading a configuration does not start TensorFlow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, model_validator

from medusis_tf.config.section import Section

if TYPE_CHECKING:
    from medusis_tf.models.discriminators.image import ImageDiscriminator
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
    """What the generators share; the defaults are the thesis's size.

    `spade` says how SPADE convolves the labels: `sparse`, once for every distinct neighbourhood of
    the label map, `dense`, at every pixel, or `auto`: sparse unless there is a GPU, which would
    wait for their number. Both paint the same images, but for rounding.
    """

    base_channels: PositiveInt
    noise_dim: NonNegativeInt = 64
    class_noise: bool = False
    num_blocks: Annotated[int, Field(ge=2, le=8)] = 6
    spade_channels: PositiveInt = 128
    spade: Literal["auto", "sparse", "dense"] = "auto"

    @model_validator(mode="after")
    def _check_class_noise(self) -> GeneratorSection:
        if self.class_noise and self.noise_dim == 0:
            raise ValueError("class_noise needs a noise_dim of 1 or more. Received: 0")
        return self

    @abstractmethod
    def network(self) -> type[ConditionalGenerator]:
        """The class of the network."""

    def build(
        self, num_classes: int, image_channels: int, synchronized: bool
    ) -> ConditionalGenerator:
        """The generator with all its weights, its batch norm over all replicas if synchronized."""
        from medusis_tf.ops.convolve import has_gpu

        settings = self.model_dump(exclude={"name", "spade"})
        settings.update(image_channels=image_channels, synchronized=synchronized)
        settings["sparse"] = self.spade == "sparse" or (self.spade == "auto" and not has_gpu())
        generator = self.network()(num_classes, **settings, name="generator")
        noise_shape = generator.noise_shape and (None, *generator.noise_shape)
        generator.build((None, None, None, num_classes), noise_shape)
        return generator


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


class DiscriminatorSection(Section, ABC):
    """What the discriminators share."""

    base_channels: PositiveInt
    max_channels: PositiveInt = 512

    @abstractmethod
    def check_image_size(self, image_size: tuple[int, int]) -> None:
        """Raise a `ValueError` that says which sizes the network takes, if not this one."""

    @abstractmethod
    def network(self) -> type[ImageDiscriminator]:
        """The class of the network."""

    def build(self, image_size: tuple[int, int], image_channels: int) -> ImageDiscriminator:
        """The discriminator of images of one size, with all its weights."""
        settings = self.model_dump(exclude={"name"})
        discriminator = self.network()(image_size, image_channels, **settings, name="discriminator")
        discriminator.build((None, *image_size, image_channels))
        return discriminator


class WholeImageDiscriminatorSection(DiscriminatorSection):
    """What the discriminators share that give one logit to an image."""

    group_size: PositiveInt = 4

    def check_image_size(self, image_size: tuple[int, int]) -> None:
        """See `DiscriminatorSection`."""
        short, long = sorted(image_size)
        if short < 8 or short & (short - 1) or long % (short // 4):
            raise ValueError(
                "a short side that is a power of two and a long side divisible by a quarter of it"
            )


class WaveletDiscriminatorConfig(WholeImageDiscriminatorSection):
    """Discriminator on Haar bands at every scale; the defaults are the thesis's size."""

    name: Literal["wavelet"] = "wavelet"
    base_channels: PositiveInt = 128

    def network(self) -> type[ImageDiscriminator]:
        """See `DiscriminatorSection`."""
        from medusis_tf.models.discriminators.wavelet import WaveletDiscriminator

        return WaveletDiscriminator


class ResidualDiscriminatorConfig(WholeImageDiscriminatorSection):
    """Discriminator on pixels, with residual blocks."""

    name: Literal["residual"]
    base_channels: PositiveInt = 64

    def network(self) -> type[ImageDiscriminator]:
        """See `DiscriminatorSection`."""
        from medusis_tf.models.discriminators.residual import ResidualDiscriminator

        return ResidualDiscriminator


class PatchDiscriminatorConfig(StridedSection, DiscriminatorSection):
    """Discriminator of patches of 70 pixels, one every 8, by the default of `num_strided`."""

    name: Literal["patch"]
    base_channels: PositiveInt = 64
    num_strided: Annotated[int, Field(ge=1, le=5)] = 3

    @property
    def stride(self) -> int:
        """See `StridedSection`."""
        return 2**self.num_strided

    def network(self) -> type[ImageDiscriminator]:
        """See `DiscriminatorSection`."""
        from medusis_tf.models.discriminators.patch import PatchDiscriminator

        return PatchDiscriminator


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
        """The segmenter with all its weights."""
        from medusis_tf.models.segmenters.unet import UNetSegmenter

        segmenter = UNetSegmenter(
            num_classes,
            image_channels,
            base_channels=self.base_channels,
            num_levels=self.num_levels,
            name="segmenter",
        )
        segmenter.build((None, None, None, image_channels))
        return segmenter


def _named(values: Any) -> Any:
    # The wavelet discriminator is the default, so that a section may give sizes alone.
    return {"name": "wavelet", **values} if isinstance(values, dict) else values


GeneratorConfig = Annotated[
    OASISGeneratorConfig | WaveletGeneratorConfig, Field(discriminator="name")
]
DiscriminatorConfig = Annotated[
    WaveletDiscriminatorConfig | ResidualDiscriminatorConfig | PatchDiscriminatorConfig,
    Field(discriminator="name"),
    BeforeValidator(_named),
]
SegmenterConfig = UNetSegmenterConfig

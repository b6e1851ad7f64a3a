"""Configuration of generators and segmenters. Each section builds its own network.

The sections are separate from the models, so that reading a configuration does not import
TensorFlow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from medusis_tf.config.section import Channels
from medusis_tf.models.attention_sections import (
    AttentionOptionSection,
    TransformerGeneratorConfig,
)
from medusis_tf.models.generator_section import GeneratorSection, StridedSection
from medusis_tf.models.image_sizes import (
    oasis_generator_stride,
    unet_stride,
    wavelet_generator_stride,
)

if TYPE_CHECKING:
    from medusis_tf.models.generators.conditional import ConditionalGenerator
    from medusis_tf.models.segmenters.unet import UNetSegmenter

__all__ = [
    "GeneratorSection",
    "OASISGeneratorConfig",
    "StridedSection",
    "TransformerGeneratorConfig",
    "UNetSegmenterConfig",
    "WaveletGeneratorConfig",
]


class OASISGeneratorConfig(AttentionOptionSection):
    """The OASIS generator: SPADE residual blocks that grow an image from noise and labels."""

    name: Literal["oasis"]
    """Selects this generator."""
    base_channels: Channels = 64
    """Channels of the last block. Earlier blocks have up to 16 times as many.

    The main setting for size and speed: 16 trains on a laptop, 64 needs a GPU.
    """

    @property
    def stride(self) -> int:
        """Number by which all sides of an image must be divisible."""
        return oasis_generator_stride(self.num_blocks)

    def network(self) -> type[ConditionalGenerator]:
        """Return the class of the network."""
        from medusis_tf.models.generators.oasis import OASISGenerator

        return OASISGenerator


class WaveletGeneratorConfig(AttentionOptionSection):
    """The wavelet generator: SPADE residual blocks that grow the Haar wavelet bands of an image.

    At the default sizes, a training step needs about 60 % of the computation of `oasis`.
    """

    name: Literal["wavelet"]
    """Selects this generator."""
    base_channels: Channels = 16
    """Feature maps of the last block, with four bands each; earlier ones have up to 16 times more.

    The main setting for size and speed.
    """

    @model_validator(mode="after")
    def _check_upsampling(self) -> WaveletGeneratorConfig:
        if self.upsampling != "nearest":
            raise ValueError("the wavelet generator accepts upsampling: nearest only")
        return self

    @property
    def stride(self) -> int:
        """Number by which all sides of an image must be divisible."""
        return wavelet_generator_stride(self.num_blocks)

    def network(self) -> type[ConditionalGenerator]:
        """Return the class of the network."""
        from medusis_tf.models.generators.wavelet import WaveletGenerator

        return WaveletGenerator


class UNetSegmenterConfig(StridedSection):
    """A residual U-Net that predicts the label map from an image.

    The defaults are the sizes of the thesis.
    """

    name: Literal["unet"] = "unet"
    """Selects this segmenter, the only one so far."""
    base_channels: Channels = 64
    """Channels before the logits. Inner blocks have up to 8 times as many.

    Reduce it together with the channels of the generator.
    """
    num_levels: Annotated[int, Field(ge=2, le=8)] = 6
    """How often the resolution is halved.

    With N levels, all sides of an image must be divisible by 2^N.
    """

    @property
    def stride(self) -> int:
        """Number by which all sides of an image must be divisible."""
        return unet_stride(self.num_levels)

    def build(self, num_classes: int, image_channels: int, rank: int = 2) -> UNetSegmenter:
        """Build the segmenter with its weights, for images (rank 2) or volumes (rank 3)."""
        from medusis_tf.models.segmenters.unet import UNetSegmenter

        segmenter = UNetSegmenter(
            num_classes,
            image_channels,
            base_channels=self.base_channels,
            num_levels=self.num_levels,
            rank=rank,
            name="segmenter",
        )
        segmenter.build((None,) * (rank + 1) + (image_channels,))
        return segmenter

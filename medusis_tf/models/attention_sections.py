"""Settings of attention: as an option of generators, and of the transformer generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from medusis_tf.config.section import Channels
from medusis_tf.models.generator_section import GeneratorSection
from medusis_tf.models.image_sizes import feature_divisors, oasis_generator_stride

if TYPE_CHECKING:
    from medusis_tf.models.generators.conditional import ConditionalGenerator

Divisor = Literal[1, 2, 4, 8, 16, 32, 64, 128, 256]


class WindowAttentionSection(GeneratorSection):
    """Settings of windowed self-attention."""

    attention_heads: Annotated[int, Field(ge=1, le=32)] = 4
    """Number of heads of each attention. The channels are divided among them."""
    attention_window: Annotated[int, Field(ge=2, le=32)] = 8
    """Height and width of the windows of attention, in pixels of the features.

    A pixel attends to those of its window. Memory grows with the square of this number.
    """


class AttentionOptionSection(WindowAttentionSection):
    """A generator of convolutions, which can have attention at some sizes of its features."""

    attention: tuple[Divisor, ...] = ()
    """Sizes of the features that get windowed self-attention, as divisors of the image size.

    With `[8, 4]`, features of 16 and of 32 pixels for images of 128 pixels. With `[]`, there is
    none. Block `i` of N, counted from 0, has features of `1/2^(N-1-i)` (`oasis`) or `1/2^(N-i)`
    (`wavelet`) of the image size. A new network with attention gives the images of one without.
    Volumes have no attention.
    """

    @model_validator(mode="after")
    def _check_attention(self) -> AttentionOptionSection:
        possible = feature_divisors(self.stride, self.num_blocks)
        if not set(self.attention) <= set(possible):
            raise ValueError(
                f"attention must be some of {possible}, the sizes of the features with "
                f"num_blocks: {self.num_blocks}. Received: {list(self.attention)}"
            )
        return self

    def images_only(self) -> str | None:
        """The setting or network that is for images and not for volumes; None if there is none."""
        return "attention" if self.attention else super().images_only()


class TransformerGeneratorConfig(WindowAttentionSection):
    """The transformer generator: windowed self-attention, then SPADE residual blocks.

    Low resolutions have transformer blocks, high ones the blocks of `oasis`.
    """

    name: Literal["transformer"]
    """Selects this generator."""
    base_channels: Channels = 64
    """Channels of the last block. Earlier blocks have up to 16 times as many.

    The main setting for size and speed.
    """
    transformer_finest: Divisor = 4
    """Finest features with transformer blocks, as a divisor of the image size.

    With 4, features of up to 64 pixels for images of 256 pixels. Finer features have the
    convolutions of `oasis`.
    """
    transformer_depth: Annotated[int, Field(ge=1, le=8)] = 2
    """Number of transformer blocks at each resolution.

    The windows of every second one are moved by half a window, so 2 is the least with which pixels
    on both sides of a border between windows attend to each other.
    """
    transformer_expansion: Annotated[int, Field(ge=1, le=4)] = 2
    """Hidden channels of the feed-forward part of a block, as a multiple of its channels."""

    @model_validator(mode="after")
    def _check_transformer_finest(self) -> TransformerGeneratorConfig:
        possible = feature_divisors(self.stride, self.num_blocks)
        if self.transformer_finest not in possible:
            raise ValueError(
                f"transformer_finest must be one of {possible}, the sizes of the features with "
                f"num_blocks: {self.num_blocks}. Received: {self.transformer_finest}"
            )
        return self

    @property
    def stride(self) -> int:
        """Number by which all sides of an image must be divisible."""
        return oasis_generator_stride(self.num_blocks)

    def images_only(self) -> str | None:
        """The setting or network that is for images and not for volumes; None if there is none."""
        return "the transformer generator"

    def network(self) -> type[ConditionalGenerator]:
        """Return the class of the network."""
        from medusis_tf.models.generators.transformer import TransformerGenerator

        return TransformerGenerator

"""The transformer generator: windowed self-attention that grows an image from a label map."""

import keras

from medusis_tf.layers.generator_blocks import SPADEBlock
from medusis_tf.layers.rank import check_attention
from medusis_tf.layers.transformer_blocks import TransformerStage
from medusis_tf.models.generators.growing import GrowingGenerator
from medusis_tf.models.image_sizes import feature_divisors


@keras.saving.register_keras_serializable("medusis_tf")
class TransformerGenerator(GrowingGenerator):
    """Synthesizes an image with transformer blocks at low and SPADE blocks at high resolution.

    Resolutions, channels and everything around the blocks are those of `OASISGenerator`. The label
    map enters each transformer block by SPADE. Height and width of the label map must be divisible
    by `stride`.

    Args:
        num_classes: Channels of the one-hot label map.
        image_channels: Channels of the image.
        base_channels: Channels of the last block. Earlier blocks have up to 16 times as many.
        transformer_finest: Finest features with transformer blocks, as a divisor of the image size,
            a power of 2. Finer features have SPADE blocks.
        transformer_depth: Transformer blocks at each resolution.
        transformer_expansion: Hidden channels of a feed-forward part, as a multiple of its inputs.
        **settings: Other arguments of `ConditionalGenerator` and of a Keras model.

    Raises:
        ValueError: A rank of 3, since attention is for images only, or an unsupported setting of
            `ConditionalGenerator`.

    Example:
        >>> import tensorflow as tf
        >>> generator = TransformerGenerator(
        ...     num_classes=3, base_channels=2, noise_dim=8, num_blocks=3, transformer_finest=2
        ... )
        >>> [type(block).__name__ for block in generator.blocks]
        ['TransformerStage', 'TransformerStage', 'SPADEBlock']
        >>> one_hot = tf.one_hot(tf.zeros([1, 16, 24], tf.int32), 3)
        >>> generator(one_hot, tf.random.normal([1, 8])).shape
        TensorShape([1, 16, 24, 1])

    Reference:
        Swin transformer, https://arxiv.org/abs/2103.14030;
        You only need adversarial supervision (OASIS), https://arxiv.org/abs/2012.04781
    """

    def __init__(
        self,
        num_classes,
        image_channels=1,
        base_channels=64,
        transformer_finest=4,
        transformer_depth=2,
        transformer_expansion=2,
        **settings,
    ):
        super().__init__(num_classes, image_channels, base_channels, **settings)
        check_attention(self.rank)
        self.transformer_finest = transformer_finest
        self.transformer_depth = transformer_depth
        self.transformer_expansion = transformer_expansion
        divisors = feature_divisors(self.stride, self.num_blocks)
        plan = self.channel_plan[1:]
        num_stages = sum(divisor >= transformer_finest for divisor in divisors)
        stages = self._blocks(
            TransformerStage,
            plan[:num_stages],
            depth=transformer_depth,
            num_heads=self.attention_heads,
            window=self.attention_window,
            expansion=transformer_expansion,
        )
        self._create([*stages, *self._blocks(SPADEBlock, plan[num_stages:], first=num_stages)])

    def get_config(self):
        return {
            **super().get_config(),
            "transformer_finest": self.transformer_finest,
            "transformer_depth": self.transformer_depth,
            "transformer_expansion": self.transformer_expansion,
        }

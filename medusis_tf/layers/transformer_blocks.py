"""Transformer blocks of the generators, conditioned on the label map and the noise."""

import keras

from medusis_tf.layers.attention import WindowAttention
from medusis_tf.layers.generator_blocks import ConditionalBlock
from medusis_tf.layers.rank import check_attention
from medusis_tf.ops.activations import leaky_relu


@keras.saving.register_keras_serializable("medusis_tf")
class TransformerBlock(ConditionalBlock):
    """Windowed self-attention and a feed-forward part, each after SPADE and with a shortcut.

    SPADE takes the place of the layer normalisation of a transformer: this is how the label map
    enters. A scale for each channel is 0 at first: a new block is the identity.

    Args:
        filters: Channels of input and output.
        num_heads: Heads of the attention.
        window: Height and width of a window, in pixels of the features.
        shift: Rows and columns by which the windows are moved.
        expansion: Hidden channels of the feed-forward part, as a multiple of `filters`.
        **settings: Other arguments of `ConditionalBlock`.

    Raises:
        ValueError: A rank of 3, since attention is for images only.

    Reference:
        Swin transformer, https://arxiv.org/abs/2103.14030
    """

    def __init__(self, filters, num_heads=4, window=8, shift=0, expansion=2, **settings):
        super().__init__(filters, **settings)
        self.num_heads = num_heads
        self.window = window
        self.shift = shift
        self.expansion = expansion
        check_attention(self.rank)

    def build(self, features_shape, one_hot_shape, noise_shape=None):
        conditioning = (one_hot_shape, noise_shape)
        self.norm_0, self.norm_1 = self._spade("norm_0"), self._spade("norm_1")
        self.attention = WindowAttention(
            self.num_heads, self.window, self.shift, name="attention", dtype=self.dtype_policy
        )
        hidden = self.expansion * self.filters
        self.dense_0 = self._conv(hidden, "dense_0", kernel_size=1)
        self.dense_1 = self._conv(self.filters, "dense_1", kernel_size=1)
        self.norm_0.build(features_shape, *conditioning)
        self.attention.build(features_shape)
        self.norm_1.build(features_shape, *conditioning)
        self.dense_0.build(features_shape)
        self.dense_1.build((*features_shape[:-1], hidden))
        self.scale_0, self.scale_1 = (
            self.add_weight(name=name, shape=(self.filters,), initializer="zeros")
            for name in ("scale_0", "scale_1")
        )

    def call(self, features, one_hot, noise=None, training=False, neighbourhoods=None):
        """Refine the features, conditioned on the labels.

        Args:
            features: `[batch, height, width, filters]`.
            one_hot: `[batch, height, width, num_classes]`.
            noise: `[batch, noise_dim]`, `[batch, num_classes, noise_dim]`, or None.
            training: Whether to use batch statistics and update the spectral norms.
            neighbourhoods: Those of `one_hot`, if they are already known.

        Returns:
            Same shape as `features`.
        """
        if neighbourhoods is None:
            neighbourhoods = self._neighbourhoods(one_hot)

        def modulate(norm, features):
            return norm(features, one_hot, noise, training=training, neighbourhoods=neighbourhoods)

        attended = self.attention(modulate(self.norm_0, features), training=training)
        features = features + self.scale_0 * attended
        hidden = self.dense_0(modulate(self.norm_1, features), training=training)
        return features + self.scale_1 * self.dense_1(leaky_relu(hidden), training=training)

    def compute_output_shape(self, features_shape, one_hot_shape, noise_shape=None):
        return features_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "window": self.window,
            "shift": self.shift,
            "expansion": self.expansion,
        }


@keras.saving.register_keras_serializable("medusis_tf")
class TransformerStage(ConditionalBlock):
    """The transformer blocks of one resolution; every second one has windows moved by half.

    If the number of channels changes, a 1x1 convolution comes first.

    Args:
        filters: Channels of the output.
        depth: Number of transformer blocks.
        num_heads: Heads of each attention.
        window: Height and width of a window, in pixels of the features.
        expansion: See `TransformerBlock`.
        **settings: Other arguments of `ConditionalBlock`.

    Raises:
        ValueError: A rank of 3, since attention is for images only.
    """

    def __init__(self, filters, depth=2, num_heads=4, window=8, expansion=2, **settings):
        super().__init__(filters, **settings)
        self.depth = depth
        self.num_heads = num_heads
        self.window = window
        self.expansion = expansion
        check_attention(self.rank)

    def build(self, features_shape, one_hot_shape, noise_shape=None):
        self.has_projection = features_shape[-1] != self.filters
        if self.has_projection:
            self.projection = self._conv(self.filters, "projection", kernel_size=1)
            self.projection.build(features_shape)
        self.blocks = [self._block(number) for number in range(self.depth)]
        for block in self.blocks:
            block.build((*features_shape[:-1], self.filters), one_hot_shape, noise_shape)

    def call(self, features, one_hot, noise=None, training=False):
        """Refine the features, conditioned on the labels.

        Args:
            features: `[batch, height, width, channels]`.
            one_hot: `[batch, height, width, num_classes]`.
            noise: `[batch, noise_dim]`, `[batch, num_classes, noise_dim]`, or None.
            training: Whether to use batch statistics and update the spectral norms.

        Returns:
            `[batch, height, width, filters]`.
        """
        neighbourhoods = self._neighbourhoods(one_hot)
        if self.has_projection:
            features = self.projection(features, training=training)
        for block in self.blocks:
            features = block(
                features, one_hot, noise, training=training, neighbourhoods=neighbourhoods
            )
        return features

    def compute_output_shape(self, features_shape, one_hot_shape, noise_shape=None):
        return (*features_shape[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "depth": self.depth,
            "num_heads": self.num_heads,
            "window": self.window,
            "expansion": self.expansion,
        }

    def _block(self, number):
        return TransformerBlock(
            self.filters,
            self.num_heads,
            self.window,
            shift=number % 2 * (self.window // 2),
            expansion=self.expansion,
            spade_channels=self.spade_channels,
            noise_dim=self.noise_dim,
            synchronized=self.synchronized,
            sparse=self.sparse,
            padding=self.padding,
            name=f"block_{number}",
            dtype=self.dtype_policy,
        )

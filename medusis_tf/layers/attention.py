"""Self-attention within windows of a feature map."""

import keras
from keras import ops

from medusis_tf.layers.spectral_conv import SpectralConv
from medusis_tf.ops.windows import merge_windows, split_windows, window_mask


@keras.saving.register_keras_serializable("medusis_tf")
class WindowAttention(keras.layers.Layer):
    """Multi-head self-attention of the pixels of each window, with relative positions.

    A pixel attends to all pixels of its window. A learned bias for each offset between two pixels
    and each head is added to the logits. Projections are spectrally normalised, as all convolutions
    of the generators are. The attention itself is `keras.ops.dot_product_attention`. Keys have no
    bias, because softmax removes it.

    Height and width need not be multiples of the window: features are padded, and nothing attends
    to the padding. The number of multiply-adds grows linearly with the number of pixels.

    Args:
        num_heads: Number of heads. Each has `ceil(channels / num_heads)` channels.
        window: Height and width of a window, in pixels of the features.
        shift: Rows and columns by which the grid of windows is moved down and right, less than
            `window`. Windows at the border are then cut.

    Raises:
        ValueError: `shift` is not less than `window`.

    Reference:
        Swin transformer, https://arxiv.org/abs/2103.14030, for windows and relative positions;
        Self-attention generative adversarial networks, https://arxiv.org/abs/1805.08318, for the
        spectral norm.
    """

    def __init__(self, num_heads=4, window=8, shift=0, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.window = window
        self.shift = shift
        if not 0 <= shift < window:
            raise ValueError(
                "shift must be at least 0 and less than window. "
                f"Received: shift={shift}, window={window}."
            )

    def build(self, features_shape):
        channels = features_shape[-1]
        self.head_channels = -(-channels // self.num_heads)
        inner = self.num_heads * self.head_channels
        self.query, self.value = self._projection(inner, "query"), self._projection(inner, "value")
        self.key = self._projection(inner, "key", use_bias=False)
        self.to_features = self._projection(channels, "to_features")
        for projection in (self.query, self.key, self.value):
            projection.build(features_shape)
        self.to_features.build((*features_shape[:-1], inner))
        offsets = 2 * self.window - 1
        self.relative_bias = self.add_weight(
            name="relative_bias", shape=(offsets, offsets, self.num_heads), initializer="zeros"
        )

    def call(self, features, training=False):
        """Let the pixels of each window attend to each other.

        Args:
            features: `[batch, height, width, channels]`.
            training: Whether to update the spectral norms.

        Returns:
            Same shape as `features`.
        """
        query, key, value = (
            split_windows(projection(features, training=training), self.window, self.shift)
            for projection in (self.query, self.key, self.value)
        )
        attended = ops.dot_product_attention(
            *(self._heads(each) for each in (query, key, value)),
            bias=position_bias(ops.convert_to_tensor(self.relative_bias))[None],
            mask=window_mask(features, self.window, self.shift),
        )
        attended = ops.reshape(attended, ops.shape(query))
        merged = merge_windows(attended, features, self.window, self.shift)
        return self.to_features(merged, training=training)

    def compute_output_shape(self, features_shape):
        return features_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "window": self.window,
            "shift": self.shift,
        }

    def _projection(self, filters, name, use_bias=True):
        return SpectralConv(
            filters, kernel_size=1, use_bias=use_bias, name=name, dtype=self.dtype_policy
        )

    def _heads(self, pixels):
        return ops.reshape(pixels, (-1, self.window**2, self.num_heads, self.head_channels))


@keras.saving.register_keras_serializable("medusis_tf")
class AttentionBlock(keras.layers.Layer):
    """Adds layer normalisation and windowed self-attention to features, twice.

    The second windows are moved by half a window, so that pixels on both sides of a border between
    windows attend to each other. A scale for each channel is 0 at first: a new block is the
    identity.

    Args:
        num_heads: Heads of each attention.
        window: Height and width of a window, in pixels of the features.

    Reference:
        Swin transformer, https://arxiv.org/abs/2103.14030
    """

    def __init__(self, num_heads=4, window=8, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.window = window

    def build(self, features_shape):
        self.norms, self.attentions, self.scales = [], [], []
        for number, shift in enumerate((0, self.window // 2)):
            norm = keras.layers.LayerNormalization(
                epsilon=1e-5, name=f"norm_{number}", dtype=self.dtype_policy
            )
            attention = WindowAttention(
                self.num_heads,
                self.window,
                shift,
                name=f"attention_{number}",
                dtype=self.dtype_policy,
            )
            norm.build(features_shape)
            attention.build(features_shape)
            self.norms.append(norm)
            self.attentions.append(attention)
            self.scales.append(
                self.add_weight(
                    name=f"scale_{number}", shape=(features_shape[-1],), initializer="zeros"
                )
            )

    def call(self, features, training=False):
        """Refine the features.

        Args:
            features: `[batch, height, width, channels]`.
            training: Whether to update the spectral norms.

        Returns:
            Same shape as `features`.
        """
        for norm, attention, scale in zip(self.norms, self.attentions, self.scales, strict=True):
            features = features + scale * attention(norm(features), training=training)
        return features

    def compute_output_shape(self, features_shape):
        return features_shape

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads, "window": self.window}


def position_bias(relative_bias):
    """Bias between all pairs of pixels of a window.

    Slices, because the gradient of a gather depends on the order of additions on a GPU.

    Args:
        relative_bias: `[2 * window - 1, 2 * window - 1, heads]`. Row `r` and column `c` are for
            keys `r - (window - 1)` rows below and `c - (window - 1)` columns right of the query.

    Returns:
        `[heads, window**2, window**2]`: query pixels, then key pixels, in reading order.
    """
    heads, window = relative_bias.shape[-1], (relative_bias.shape[0] + 1) // 2
    # Axes: query row, key row, query column, key column, head.
    bias = ops.stack([relative_bias[k : k + window] for k in reversed(range(window))])
    bias = ops.stack([bias[:, :, k : k + window] for k in reversed(range(window))], axis=2)
    return ops.reshape(ops.transpose(bias, (4, 0, 2, 1, 3)), (heads, window**2, window**2))

"""The residual block of the OASIS generator."""

import keras

from medusis_tf.layers.conditional_block import ConditionalBlock
from medusis_tf.ops.leaky_relu import leaky_relu


@keras.saving.register_keras_serializable("medusis_tf")
class SPADEBlock(ConditionalBlock):
    """Two convolutions, each after SPADE and leaky ReLU, and a shortcut.

    The shortcut has its own SPADE and 1x1 convolution where the number of channels changes.

    Args:
        filters: Channels of the output.
        spade_channels: Hidden channels of every SPADE.
        noise_dim: Length of the noise vector; 0 for none.
        synchronized: Whether batch statistics are taken over all replicas.
        sparse: See `ConditionalBlock`.

    You only need adversarial supervision (OASIS), https://arxiv.org/abs/2012.04781
    """

    def build(self, features_shape, one_hot_shape, noise_shape=None):
        channels = features_shape[-1]
        middle = min(channels, self.filters)
        conditioning = (one_hot_shape, noise_shape)
        middle_shape = (*features_shape[:-1], middle)

        self.norm_0, self.norm_1 = self._spade("norm_0"), self._spade("norm_1")
        self.conv_0, self.conv_1 = self._conv(middle, "conv_0"), self._conv(self.filters, "conv_1")
        self.norm_0.build(features_shape, *conditioning)
        self.conv_0.build(features_shape)
        self.norm_1.build(middle_shape, *conditioning)
        self.conv_1.build(middle_shape)

        self.has_shortcut = channels != self.filters
        if self.has_shortcut:
            self.norm_shortcut = self._spade("norm_shortcut")
            self.conv_shortcut = self._conv(
                self.filters, "conv_shortcut", kernel_size=1, use_bias=False
            )
            self.norm_shortcut.build(features_shape, *conditioning)
            self.conv_shortcut.build(features_shape)

    def call(self, features, one_hot, noise=None, training=False):
        """Refine the features under the labels.

        Args:
            features: `[batch, height, width, channels]`.
            one_hot: `[batch, height, width, num_classes]`.
            noise: `[batch, noise_dim]`, `[batch, num_classes, noise_dim]`, or None without noise.
            training: Whether to use batch statistics and iterate the spectral norms.

        Returns:
            `[batch, height, width, filters]`.
        """
        neighbourhoods = self._neighbourhoods(one_hot)

        def modulate(norm, features):
            return norm(features, one_hot, noise, training=training, neighbourhoods=neighbourhoods)

        shortcut = features
        if self.has_shortcut:
            normalized = modulate(self.norm_shortcut, features)
            shortcut = self.conv_shortcut(normalized, training=training)

        residual = self.conv_0(_activate(modulate(self.norm_0, features)), training=training)
        residual = _activate(modulate(self.norm_1, residual))
        return shortcut + self.conv_1(residual, training=training)

    def compute_output_shape(self, features_shape, one_hot_shape, noise_shape=None):
        return (*features_shape[:-1], self.filters)


def _activate(features):
    return leaky_relu(features)

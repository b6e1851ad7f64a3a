"""Spatially adaptive normalisation."""

import keras
from keras import ops

from medusis_tf.layers.initializers import xavier_normal
from medusis_tf.layers.label_conv import LabelConv2D


@keras.saving.register_keras_serializable("medusis_tf")
class SPADE(keras.layers.Layer):
    """Batch normalisation whose scale and offset are painted by the label map.

    `normalized * (1 + gamma) + beta`, where gamma and beta are convolved from the labels and
    the noise, and differ from pixel to pixel.

    Args:
        hidden_channels: Channels of the shared first convolution.
        noise_dim: Length of the noise vector; 0 for none.
        synchronized: Whether the batch statistics are taken over all replicas.

    Semantic image synthesis with spatially-adaptive normalization, https://arxiv.org/abs/1903.07291
    """

    def __init__(self, hidden_channels=128, noise_dim=0, synchronized=False, **kwargs):
        super().__init__(**kwargs)
        self.hidden_channels = hidden_channels
        self.noise_dim = noise_dim
        self.synchronized = synchronized
        self.normalization = keras.layers.BatchNormalization(
            momentum=0.9,
            epsilon=1e-5,
            center=False,
            scale=False,
            synchronized=synchronized,
            dtype=self.dtype_policy,
        )
        self.shared = LabelConv2D(hidden_channels, noise_dim, dtype=self.dtype_policy)

    def build(self, features_shape, one_hot_shape, noise_shape=None):
        channels = features_shape[-1]
        self.to_gamma = self._modulation_conv(channels, "to_gamma")
        self.to_beta = self._modulation_conv(channels, "to_beta")
        self.normalization.build(features_shape)
        self.shared.build(one_hot_shape, noise_shape)
        hidden_shape = (*one_hot_shape[:-1], self.hidden_channels)
        self.to_gamma.build(hidden_shape)
        self.to_beta.build(hidden_shape)

    def call(self, features, one_hot, noise=None, training=False):
        """Normalise and modulate.

        Args:
            features: `[batch, height, width, channels]`.
            one_hot: `[batch, height, width, num_classes]`.
            noise: `[batch, noise_dim]`, `[batch, num_classes, noise_dim]`, or None without noise.
            training: Whether to use, and remember, the statistics of this batch.

        Returns:
            Same shape as `features`.
        """
        hidden = ops.relu(self.shared(one_hot, noise))
        gamma, beta = self.to_gamma(hidden), self.to_beta(hidden)
        return self.normalization(features, training=training) * (1 + gamma) + beta

    def compute_output_shape(self, features_shape, one_hot_shape, noise_shape=None):
        return features_shape

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_channels": self.hidden_channels,
            "noise_dim": self.noise_dim,
            "synchronized": self.synchronized,
        }

    def _modulation_conv(self, channels, name):
        return keras.layers.Conv2D(
            channels,
            3,
            padding="same",
            kernel_initializer=xavier_normal(),
            name=name,
            dtype=self.dtype_policy,
        )

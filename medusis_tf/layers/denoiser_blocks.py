"""Blocks of a denoiser: residual convolutions that know the noise level."""

import math

import keras
from keras import ops

_GROUP_CHANNELS = 8
_LARGEST_FREQUENCY = 64.0


@keras.saving.register_keras_serializable("medusis_tf")
class NoiseLevelEmbedding(keras.layers.Layer):
    """Turns the noise level of each image into a vector: sines and cosines, then two dense layers.

    Args:
        dimension: Length of the vector, even.
    """

    def __init__(self, dimension, **kwargs):
        super().__init__(**kwargs)
        self.dimension = dimension

    def build(self, levels_shape):
        options = {"activation": "silu", "dtype": self.dtype_policy}
        self.hidden = keras.layers.Dense(self.dimension, name="hidden", **options)
        self.output_layer = keras.layers.Dense(self.dimension, name="output", **options)
        self.hidden.build((None, self.dimension))
        self.output_layer.build((None, self.dimension))

    def call(self, levels):
        """Embed `[batch]` levels, such as log(sigma) / 4; returns `[batch, dimension]`."""
        count = self.dimension // 2
        frequencies = ops.exp(ops.linspace(0.0, math.log(_LARGEST_FREQUENCY), count))
        angles = ops.cast(levels, "float32")[:, None] * frequencies
        waves = ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1)
        return self.output_layer(self.hidden(ops.cast(waves, self.compute_dtype)))

    def compute_output_shape(self, levels_shape):
        return (levels_shape[0], self.dimension)

    def get_config(self):
        return {**super().get_config(), "dimension": self.dimension}


@keras.saving.register_keras_serializable("medusis_tf")
class DenoiserBlock(keras.layers.Layer):
    """Two convolutions with group normalisation; the noise level scales and shifts between them.

    It is the identity (or the 1x1 shortcut) at first.

    Args:
        filters: Channels of the output, divisible by 8.

    Reference:
        Diffusion models beat GANs on image synthesis, https://arxiv.org/abs/2105.05233 (adaptive
        group normalisation)
    """

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, features_shape, embedding_shape):
        inner = (*features_shape[:-1], self.filters)
        self.norm_1 = self._norm(features_shape[-1], "norm_1")
        self.conv_1 = self._conv("conv_1")
        self.norm_2 = self._norm(self.filters, "norm_2")
        self.conv_2 = self._conv("conv_2", kernel_initializer="zeros")
        self.modulation = keras.layers.Dense(
            2 * self.filters, kernel_initializer="zeros", name="modulation", dtype=self.dtype_policy
        )
        self.norm_1.build(features_shape)
        self.conv_1.build(features_shape)
        self.norm_2.build(inner)
        self.conv_2.build(inner)
        self.modulation.build(embedding_shape)
        self.has_shortcut = features_shape[-1] != self.filters
        if self.has_shortcut:
            self.shortcut = self._conv("shortcut", kernel_size=1)
            self.shortcut.build(features_shape)

    def call(self, features, embedding):
        """Transform `[batch, height, width, channels]` with an embedding `[batch, dimension]`."""
        residual = self.conv_1(ops.silu(self.norm_1(features)))
        scale, shift = ops.split(self.modulation(embedding)[:, None, None], 2, axis=-1)
        residual = self.norm_2(residual) * (1 + scale) + shift
        residual = self.conv_2(ops.silu(residual))
        return (self.shortcut(features) if self.has_shortcut else features) + residual

    def compute_output_shape(self, features_shape, embedding_shape):
        return (*features_shape[:-1], self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}

    def _norm(self, channels, name):
        groups = max(1, channels // _GROUP_CHANNELS)
        return keras.layers.GroupNormalization(groups, name=name, dtype=self.dtype_policy)

    def _conv(self, name, kernel_size=3, **options):
        return keras.layers.Conv2D(
            self.filters,
            kernel_size,
            padding="same",
            name=name,
            dtype=self.dtype_policy,
            **options,
        )

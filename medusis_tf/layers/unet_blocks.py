"""Residual blocks of the U-Net, which halve or double the resolution."""

import keras
from keras import ops

from medusis_tf.layers.rank import check_rank
from medusis_tf.layers.spectral_conv import SpectralConv
from medusis_tf.ops.activations import leaky_relu
from medusis_tf.ops.upsample import upsample_nearest


class _UNetBlock(keras.layers.Layer):
    """Two spectrally normalised convolutions, and a 1x1 shortcut if the channels change."""

    resample_1: str | None = None
    resample_2: str | None = None

    def __init__(self, filters, rank=2, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.rank = check_rank(rank)

    def build(self, features_shape):
        self.conv_1 = self._conv("conv_1", resample=self.resample_1)
        self.conv_2 = self._conv("conv_2", resample=self.resample_2)
        self.conv_1.build(features_shape)
        self.conv_2.build((*features_shape[:-1], self.filters))
        self.has_shortcut = features_shape[-1] != self.filters
        if self.has_shortcut:
            self.conv_shortcut = self._conv("conv_shortcut", kernel_size=1)
            self.conv_shortcut.build(features_shape)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "rank": self.rank}

    def _shortcut(self, features, training):
        return self.conv_shortcut(features, training=training) if self.has_shortcut else features

    def _conv(self, name, **options):
        return SpectralConv(
            self.filters, rank=self.rank, name=name, dtype=self.dtype_policy, **options
        )


@keras.saving.register_keras_serializable("medusis_tf")
class EncoderBlock(_UNetBlock):
    """Residual block that halves the resolution by average pooling.

    Args:
        filters: Channels of the output.
        activate_first: Whether the block begins with a leaky ReLU; False for the block that
            receives the image.
        rank: 2 for images, 3 for volumes.

    Reference:
        You only need adversarial supervision (OASIS), https://arxiv.org/abs/2012.04781
    """

    resample_2 = "halve"

    def __init__(self, filters, activate_first=True, rank=2, **kwargs):
        super().__init__(filters, rank, **kwargs)
        self.activate_first = activate_first

    def call(self, features, training=False):
        residual = leaky_relu(features) if self.activate_first else features
        residual = leaky_relu(self.conv_1(residual, training=training))
        residual = self.conv_2(residual, training=training)
        # A 1x1 convolution commutes with pooling. Pooling first costs a quarter,
        # in volumes an eighth.
        halved = ops.average_pool(features, 2, strides=2, padding="valid")
        return self._shortcut(halved, training) + residual

    def compute_output_shape(self, features_shape):
        batch, *sides, _ = features_shape
        halved = (None if side is None else side // 2 for side in sides)
        return (batch, *halved, self.filters)

    def get_config(self):
        return {**super().get_config(), "activate_first": self.activate_first}


@keras.saving.register_keras_serializable("medusis_tf")
class DecoderBlock(_UNetBlock):
    """Residual block that doubles the resolution by repeating pixels.

    Args:
        filters: Channels of the output.
        rank: 2 for images, 3 for volumes.

    Reference:
        You only need adversarial supervision (OASIS), https://arxiv.org/abs/2012.04781
    """

    resample_1 = "double"

    def call(self, features, training=False):
        residual = leaky_relu(self.conv_1(leaky_relu(features), training=training))
        residual = self.conv_2(residual, training=training)
        # The 1x1 shortcut commutes with doubling. Before it, it costs a quarter, in
        # volumes an eighth.
        return upsample_nearest(self._shortcut(features, training)) + residual

    def compute_output_shape(self, features_shape):
        batch, *sides, _ = features_shape
        doubled = (None if side is None else side * 2 for side in sides)
        return (batch, *doubled, self.filters)

"""Building blocks of the discriminators that classify whole images."""

import math

import keras
import tensorflow as tf
from keras import ops

from medusis_tf.layers.equalized import EqualizedConv
from medusis_tf.layers.rank import check_rank
from medusis_tf.ops.smoothing import blur, blur_down


@keras.saving.register_keras_serializable("medusis_tf")
class DiscriminatorBlock(keras.layers.Layer):
    """A convolution, followed by a blurred, strided one that halves the resolution.

    Args:
        filters: Channels of the output. The first convolution keeps the channels of the input.
        rank: 2 for images, 3 for volumes.

    Reference:
        SWAGAN, https://arxiv.org/abs/2102.06108, without its residual branch
    """

    def __init__(self, filters, rank=2, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.rank = check_rank(rank)

    def build(self, features_shape):
        self.conv_1 = self._conv(features_shape[-1], name="conv_1")
        self.conv_2 = self._conv(self.filters, strides=2, padding="valid", name="conv_2")
        self.conv_1.build(features_shape)
        self.conv_2.build(features_shape)

    def call(self, features):
        return self.conv_2(blur(self.conv_1(features)))

    def compute_output_shape(self, features_shape):
        batch, *sides, _ = features_shape
        return (batch, *(side // 2 for side in sides), self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "rank": self.rank}

    def _conv(self, filters, **options):
        return EqualizedConv(filters, rank=self.rank, dtype=self.dtype_policy, **options)


@keras.saving.register_keras_serializable("medusis_tf")
class ResidualDiscriminatorBlock(DiscriminatorBlock):
    """A `DiscriminatorBlock` with a skip path: blur, halving and a 1x1 convolution.

    The sum is divided by the square root of two, which preserves the variance of the features.

    Args:
        filters: Channels of the output. The first convolution keeps the channels of the input.
        rank: 2 for images, 3 for volumes.

    Reference:
        StyleGAN2, https://arxiv.org/abs/1912.04958, figure 7 and appendix B
    """

    def build(self, features_shape):
        super().build(features_shape)
        self.conv_skip = self._conv(self.filters, kernel_size=1, activate=False, name="conv_skip")
        self.conv_skip.build(features_shape)

    def call(self, features):
        skip = self.conv_skip(blur_down(features))
        return (super().call(features) + skip) * math.sqrt(0.5)


@keras.saving.register_keras_serializable("medusis_tf")
class MinibatchStandardDeviation(keras.layers.Layer):
    """Append one channel: the mean standard deviation of the features over a group of images.

    The `m` groups of a batch are interleaved: image `i` belongs to group `i mod m`. The size of a
    group is the largest divisor of the batch size up to `group_size`.

    Args:
        group_size: Maximum number of images in a group.

    Reference:
        Progressive growing of GANs, https://arxiv.org/abs/1710.10196, section 3
    """

    def __init__(self, group_size=4, **kwargs):
        super().__init__(**kwargs)
        self.group_size = group_size

    def call(self, features):
        batch, *sides, channels = ops.shape(features)
        group = self._group(batch)
        # In float32: squares of bfloat16 features lose the small differences of interest here.
        grouped = tf.reshape(
            tf.cast(features, "float32"), [group, batch // group, *sides, channels]
        )
        deviation = tf.sqrt(tf.math.reduce_variance(grouped, axis=0) + 1e-8)
        mean_deviation = tf.reduce_mean(deviation, axis=list(range(1, len(sides) + 2)))
        feature = tf.tile(mean_deviation, tf.reshape(group, [1]))
        feature = tf.reshape(feature, [batch, *(1 for _ in sides), 1])
        feature = tf.broadcast_to(feature, [batch, *sides, 1])
        return tf.concat([features, tf.cast(feature, features.dtype)], axis=-1)

    def compute_output_shape(self, features_shape):
        return (*features_shape[:-1], features_shape[-1] + 1)

    def get_config(self):
        return {**super().get_config(), "group_size": self.group_size}

    def _group(self, batch):
        sizes = tf.range(1, self.group_size + 1)
        return tf.reduce_max(tf.where(batch % sizes == 0, sizes, 1))

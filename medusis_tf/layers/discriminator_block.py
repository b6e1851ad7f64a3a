"""The convolution block of the wavelet discriminator."""

import keras

from medusis_tf.layers.equalized import EqualizedConv2D
from medusis_tf.ops.blur import blur


@keras.saving.register_keras_serializable("medusis_tf")
class DiscriminatorBlock(keras.layers.Layer):
    """A convolution, then a blurred, strided one that halves the resolution.

    Args:
        filters: Channels of the output; the first convolution keeps those of the input.

    SWAGAN, https://arxiv.org/abs/2102.06108, without its residual branch
    """

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters

    def build(self, features_shape):
        self.conv_1 = EqualizedConv2D(features_shape[-1], name="conv_1", dtype=self.dtype_policy)
        self.conv_2 = EqualizedConv2D(
            self.filters, strides=2, padding="valid", name="conv_2", dtype=self.dtype_policy
        )
        self.conv_1.build(features_shape)
        self.conv_2.build(features_shape)

    def call(self, features):
        return self.conv_2(blur(self.conv_1(features)))

    def compute_output_shape(self, features_shape):
        batch, height, width, _ = features_shape
        return (batch, height // 2, width // 2, self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}

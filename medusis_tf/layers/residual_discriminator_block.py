"""The residual block of the residual discriminator."""

import math

import keras

from medusis_tf.layers.discriminator_block import DiscriminatorBlock
from medusis_tf.layers.equalized import EqualizedConv2D
from medusis_tf.ops.blur import blur_down


@keras.saving.register_keras_serializable("medusis_tf")
class ResidualDiscriminatorBlock(DiscriminatorBlock):
    """A `DiscriminatorBlock` beside a blurred, halved skip path with a 1x1 convolution.

    The sum is divided by the square root of two, so that features keep their variance.

    Args:
        filters: Channels of the output; the first convolution keeps those of the input.

    StyleGAN2, https://arxiv.org/abs/1912.04958, figure 7 and appendix B
    """

    def build(self, features_shape):
        super().build(features_shape)
        self.conv_skip = EqualizedConv2D(
            self.filters, 1, activate=False, name="conv_skip", dtype=self.dtype_policy
        )
        self.conv_skip.build(features_shape)

    def call(self, features):
        skip = self.conv_skip(blur_down(features))
        return (super().call(features) + skip) * math.sqrt(0.5)

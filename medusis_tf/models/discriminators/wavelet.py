"""The wavelet discriminator: judges an image by its Haar bands at every scale."""

import math

import keras
import tensorflow as tf

from medusis_tf.layers.discriminator_block import DiscriminatorBlock
from medusis_tf.layers.equalized import EqualizedConv2D, EqualizedDense
from medusis_tf.layers.minibatch_deviation import MinibatchStandardDeviation
from medusis_tf.ops.blur import blur_down
from medusis_tf.ops.haar import haar_analysis


@keras.saving.register_keras_serializable("medusis_tf")
class WaveletDiscriminator(keras.Model):
    """Tells real from synthetic images, one logit per image.

    At every scale the Haar bands of the blurred and halved image are added to the features, which
    end 4 pixels high on the short side.

    Args:
        image_size: `(height, width)`; the short side a power of two from 8, the long side a
            multiple of `short / 4`.
        image_channels: Channels of the image.
        base_channels: Channels at the first scale, times 4 at each further one.
        max_channels: Channels at any scale at most.
        group_size: Images per group of the minibatch standard deviation at most.

    SWAGAN, https://arxiv.org/abs/2102.06108
    """

    def __init__(
        self,
        image_size,
        image_channels=1,
        base_channels=128,
        max_channels=512,
        group_size=4,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.image_size = tuple(image_size)
        self.image_channels = image_channels
        self.base_channels = base_channels
        self.max_channels = max_channels
        self.group_size = group_size
        _check_image_size(self.image_size)

        plan = self.channel_plan
        self.from_bands = [
            EqualizedConv2D(channels, 1, name=f"from_bands_{index}", dtype=self.dtype_policy)
            for index, channels in enumerate(plan)
        ]
        self.blocks = [
            DiscriminatorBlock(channels, name=f"block_{index}", dtype=self.dtype_policy)
            for index, channels in enumerate(plan[1:])
        ]
        self.deviation = MinibatchStandardDeviation(group_size, dtype=self.dtype_policy)
        self.final_conv = EqualizedConv2D(plan[-1], name="final_conv", dtype=self.dtype_policy)
        self.hidden = EqualizedDense(plan[-1], name="hidden", dtype=self.dtype_policy)
        # In float32: the losses are differences of logits.
        self.to_logit = EqualizedDense(1, activate=False, name="to_logit", dtype="float32")

    @property
    def channel_plan(self):
        """Channels at every scale, from half the image's size to 4 pixels on the short side."""
        scales = int(math.log2(min(self.image_size))) - 2
        return [min(self.max_channels, self.base_channels * 4**k) for k in range(scales)]

    def build(self, images_shape):
        plan = self.channel_plan
        for layer in self.from_bands:
            layer.build((None, None, None, 4 * self.image_channels))
        for block, channels in zip(self.blocks, plan[:-1], strict=True):
            block.build((None, None, None, channels))
        final_pixels = math.prod(length // 2 ** len(plan) for length in self.image_size)
        self.final_conv.build((None, None, None, plan[-1] + 1))
        self.hidden.build((None, final_pixels * plan[-1]))
        self.to_logit.build((None, plan[-1]))

    def call(self, images, training=False):
        """Judge images.

        Args:
            images: `[batch, height, width, image_channels]` in [-1, 1].
            training: Without effect: this network keeps no state.

        Returns:
            Logits `[batch]`, float32; high for real images.
        """
        image = self._with_known_size(images)
        features = self.from_bands[0](haar_analysis(image))
        for block, from_bands in zip(self.blocks, self.from_bands[1:], strict=True):
            image = blur_down(image)
            features = block(features) + from_bands(haar_analysis(image))
        features = self.final_conv(self.deviation(features))
        flat = tf.reshape(features, [-1, math.prod(features.shape[1:])])
        return tf.squeeze(self.to_logit(self.hidden(flat)), axis=-1)

    def get_config(self):
        return {
            **super().get_config(),
            "image_size": self.image_size,
            "image_channels": self.image_channels,
            "base_channels": self.base_channels,
            "max_channels": self.max_channels,
            "group_size": self.group_size,
        }

    def _with_known_size(self, images):
        expected = (*self.image_size, self.image_channels)
        if not images.shape[1:].is_compatible_with(expected):
            raise ValueError(
                f"The discriminator was made for images of height, width and channels {expected}. "
                f"Received: images with shape {tuple(images.shape)}. "
                "Make the discriminator with the image_size and image_channels of the data."
            )
        return tf.ensure_shape(images, [None, *expected])


def _check_image_size(image_size):
    short, long = sorted(image_size)
    if short < 8 or short & (short - 1) or long % (short // 4):
        raise ValueError(
            "The short side of an image must be a power of two from 8, and the long side a "
            f"multiple of a quarter of it. Received: image_size={image_size}. "
            "Prepare the slices at such a size, for example 256 x 256."
        )

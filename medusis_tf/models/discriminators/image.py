"""What the discriminators share: their settings, the check of images, features and logits."""

import math

import keras
import tensorflow as tf

from medusis_tf.layers.discriminator_blocks import MinibatchStandardDeviation
from medusis_tf.layers.equalized import EqualizedConv2D, EqualizedDense


class ImageDiscriminator(keras.Model):
    """A discriminator of images of one size, without state.

    A subclass has `build`, `_feature_maps` from checked images, and `judge`.

    Args:
        image_size: `(height, width)`.
        image_channels: Channels of the image.
        base_channels: Channels at the first scale.
        max_channels: Channels at any scale at most.
    """

    def __init__(self, image_size, image_channels, base_channels, max_channels, **kwargs):
        super().__init__(**kwargs)
        self.image_size = tuple(image_size)
        self.image_channels = image_channels
        self.base_channels = base_channels
        self.max_channels = max_channels

    def features(self, images):
        """See images as the discriminator does, for feature matching.

        Args:
            images: `[batch, height, width, image_channels]` in [-1, 1].

        Returns:
            List of the feature maps `[batch, rows, columns, channels]` of every scale, the
            finest first, in the network's compute dtype; `judge` turns them into logits.

        Raises:
            ValueError: The images have another size than `image_size`, or other channels.
        """
        images = self._with_known_size(tf.cast(images, self.compute_dtype))
        if not self.built:
            self.build(images.shape)
        return self._feature_maps(images)

    def judge(self, features):
        """Turn what `features` returns into logits; only the last map is read."""
        raise NotImplementedError

    def call(self, images, training=False):
        """Judge images.

        Args:
            images: `[batch, height, width, image_channels]` in [-1, 1].
            training: Without effect: this network keeps no state.

        Returns:
            The logits of `judge`, float32; high for real images.
        """
        return self.judge(self.features(images))

    def get_config(self):
        return {
            **super().get_config(),
            "image_size": self.image_size,
            "image_channels": self.image_channels,
            "base_channels": self.base_channels,
            "max_channels": self.max_channels,
        }

    def _feature_maps(self, images):
        raise NotImplementedError

    def _with_known_size(self, images):
        expected = (*self.image_size, self.image_channels)
        if not images.shape[1:].is_compatible_with(expected):
            raise ValueError(
                f"The discriminator was made for images of height, width and channels {expected}. "
                f"Received: images with shape {tuple(images.shape)}. "
                "Make the discriminator with the image_size and image_channels of the data."
            )
        return tf.ensure_shape(images, [None, *expected])


class WholeImageDiscriminator(ImageDiscriminator):
    """A discriminator that shrinks an image to 4 pixels on the short side, then judges it whole.

    A subclass has `channel_plan`, makes its own layers and calls `_make_head` after them.

    Args:
        image_size: `(height, width)`; the short side a power of two from 8, the long side a
            multiple of `short / 4`.
        image_channels: Channels of the image.
        base_channels: Channels at the first scale.
        max_channels: Channels at any scale at most.
        group_size: Images per group of the minibatch standard deviation at most.
    """

    def __init__(
        self, image_size, image_channels, base_channels, max_channels, group_size, **kwargs
    ):
        super().__init__(image_size, image_channels, base_channels, max_channels, **kwargs)
        self.group_size = group_size
        _check_image_size(self.image_size)

    @property
    def num_halvings(self):
        """How often an image is halved until its short side is 4 pixels."""
        return int(math.log2(min(self.image_size))) - 2

    def judge(self, features):
        """Turn feature maps into logits.

        Args:
            features: What `features` returns; only the last map is read.

        Returns:
            Logits `[batch]`, float32; high for real images.
        """
        final = self.final_conv(self.deviation(features[-1]))
        flat = tf.reshape(final, [-1, math.prod(final.shape[1:])])
        return tf.squeeze(self.to_logit(self.hidden(flat)), axis=-1)

    def get_config(self):
        return {**super().get_config(), "group_size": self.group_size}

    def _make_head(self):
        channels = self.channel_plan[-1]
        self.deviation = MinibatchStandardDeviation(self.group_size, dtype=self.dtype_policy)
        self.final_conv = EqualizedConv2D(channels, name="final_conv", dtype=self.dtype_policy)
        self.hidden = EqualizedDense(channels, name="hidden", dtype=self.dtype_policy)
        # In float32: the losses are differences of logits.
        self.to_logit = EqualizedDense(1, activate=False, name="to_logit", dtype="float32")

    def _build_head(self):
        channels = self.channel_plan[-1]
        final_pixels = math.prod(length // 2**self.num_halvings for length in self.image_size)
        self.final_conv.build((None, None, None, channels + 1))
        self.hidden.build((None, final_pixels * channels))
        self.to_logit.build((None, channels))


def _check_image_size(image_size):
    short, long = sorted(image_size)
    if short < 8 or short & (short - 1) or long % (short // 4):
        raise ValueError(
            "The short side of an image must be a power of two from 8, and the long side a "
            f"multiple of a quarter of it. Received: image_size={image_size}. "
            "Prepare the slices at such a size, for example 256 x 256."
        )

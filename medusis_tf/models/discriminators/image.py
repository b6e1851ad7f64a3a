"""Base classes of the discriminators: settings, validation of images, features and logits."""

import math

import keras
import tensorflow as tf

from medusis_tf.layers.discriminator_blocks import MinibatchStandardDeviation
from medusis_tf.layers.equalized import EqualizedConv, EqualizedDense
from medusis_tf.layers.rank import check_rank, unknown_sides
from medusis_tf.models.image_sizes import WHOLE_IMAGE_SIZES, is_whole_image_size


class ImageDiscriminator(keras.Model):
    """A stateless discriminator for images, or volumes, of one size.

    Subclasses implement `build`, `_feature_maps` and `classify`.

    Args:
        image_size: `(height, width)`, or `(depth, height, width)` of volumes.
        image_channels: Channels of the image.
        base_channels: Channels at the first scale.
        max_channels: Upper limit of the channels at any scale.
    """

    def __init__(self, image_size, image_channels, base_channels, max_channels, **kwargs):
        super().__init__(**kwargs)
        self.image_size = tuple(image_size)
        self.rank = check_rank(len(self.image_size))
        self.image_channels = image_channels
        self.base_channels = base_channels
        self.max_channels = max_channels

    def features(self, images):
        """Compute the feature maps of images, for example for feature matching.

        Args:
            images: `[batch, *image_size, image_channels]` in [-1, 1].

        Returns:
            List of the feature maps `[batch, ..., channels]` of all scales, the finest first, in
            the compute dtype of the network. `classify` computes logits from them.

        Raises:
            ValueError: The size or the channels of the images do not fit the discriminator.
        """
        images = self._with_known_size(tf.cast(images, self.compute_dtype))
        if not self.built:
            self.build(images.shape)
        return self._feature_maps(images)

    def classify(self, features):
        """Compute logits from the result of `features`. Only the last map is used."""
        raise NotImplementedError

    def call(self, images, training=False):
        """Classify images as real or synthetic.

        Args:
            images: `[batch, *image_size, image_channels]` in [-1, 1].
            training: Ignored, since the network has no state.

        Returns:
            The logits of `classify`, float32. High values mean real images.

        Raises:
            ValueError: The size or the channels of the images do not fit the discriminator.
        """
        return self.classify(self.features(images))

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
                f"The discriminator expects images of sides and channels {expected}. "
                f"Received: images with shape {tuple(images.shape)}. "
                "Create the discriminator with the image_size and image_channels of the data."
            )
        return tf.ensure_shape(images, [None, *expected])


class WholeImageDiscriminator(ImageDiscriminator):
    """A discriminator that halves an image until its short side is 4 pixels: one logit per image.

    Subclasses implement `channel_plan`, create their own layers and call `_make_head` last.

    Args:
        image_size: `(height, width)` or `(depth, height, width)`. The short side is a power of two
            of at least 8; the others are divisible by a quarter of it.
        image_channels: Channels of the image.
        base_channels: Channels at the first scale.
        max_channels: Upper limit of the channels at any scale.
        group_size: Largest group of images for the minibatch standard deviation.

    Raises:
        ValueError: Unsupported image size.
    """

    def __init__(
        self, image_size, image_channels, base_channels, max_channels, group_size, **kwargs
    ):
        super().__init__(image_size, image_channels, base_channels, max_channels, **kwargs)
        self.group_size = group_size
        if not is_whole_image_size(self.image_size):
            raise ValueError(
                f"The discriminator needs images with {WHOLE_IMAGE_SIZES}. "
                f"Received: image_size={self.image_size}. "
                "Prepare the slices with such a size, for example 256 x 256."
            )

    @property
    def num_halvings(self):
        """Number of halvings until the short side of an image is 4 pixels."""
        return int(math.log2(min(self.image_size))) - 2

    def classify(self, features):
        """Compute one logit per image.

        Args:
            features: Result of `features`. Only the last map is used.

        Returns:
            Logits `[batch]`, float32. High values mean real images.
        """
        final = self.final_conv(self.deviation(features[-1]))
        flat = tf.reshape(final, [-1, math.prod(final.shape[1:])])
        return tf.squeeze(self.to_logit(self.hidden(flat)), axis=-1)

    def get_config(self):
        return {**super().get_config(), "group_size": self.group_size}

    def _make_head(self):
        channels = self.channel_plan[-1]
        self.deviation = MinibatchStandardDeviation(self.group_size, dtype=self.dtype_policy)
        self.final_conv = EqualizedConv(
            channels, rank=self.rank, name="final_conv", dtype=self.dtype_policy
        )
        self.hidden = EqualizedDense(channels, name="hidden", dtype=self.dtype_policy)
        # In float32: the losses depend on small differences of logits.
        self.to_logit = EqualizedDense(1, activate=False, name="to_logit", dtype="float32")

    def _build_head(self):
        channels = self.channel_plan[-1]
        final_pixels = math.prod(length // 2**self.num_halvings for length in self.image_size)
        self.final_conv.build(unknown_sides(self.rank, channels + 1))
        self.hidden.build((None, final_pixels * channels))
        self.to_logit.build((None, channels))

"""What the discriminators share: their settings, the check of images, features and logits."""

import keras
import tensorflow as tf


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

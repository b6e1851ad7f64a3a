"""Networks of slices, applied to volumes."""

from __future__ import annotations

import keras
import tensorflow as tf


class SliceWise(keras.Model):
    """Applies a network to each slice of volumes, for example a segmenter.

    Args:
        network: Network that maps `[batch, height, width, channels]` to the same with other
            channels, built.
    """

    def __init__(self, network: keras.Model):
        super().__init__(name=network.name)
        self.network = network
        self.built = True

    def call(self, volumes: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Apply the network.

        Args:
            volumes: `[batch, depth, height, width, channels]`.
            training: Passed on.

        Returns:
            `[batch, depth, height, width, other channels]`.
        """
        batch, depth = volumes.shape[:2]
        sizes = tf.shape(volumes)
        slices = tf.reshape(volumes, tf.concat([[sizes[0] * sizes[1]], sizes[2:]], axis=0))
        known = None if None in (batch, depth) else batch * depth
        found = self.network(
            tf.ensure_shape(slices, [known, *volumes.shape[2:]]), training=training
        )
        shape = tf.concat([sizes[:2], tf.shape(found)[1:]], axis=0)
        return tf.ensure_shape(tf.reshape(found, shape), [batch, depth, *found.shape[1:]])


class AdjacentSlices(keras.Model):
    """Applies a discriminator of images to adjacent slices of volumes, as channels of one image.

    Args:
        discriminator: Discriminator of images with `count * image_channels` channels, built.
        count: Number of slices that it sees together.
    """

    def __init__(self, discriminator: keras.Model, count: int):
        super().__init__(name=discriminator.name)
        self.discriminator = discriminator
        self.count = count
        self.built = True

    def features(self, volumes: tf.Tensor) -> list[tf.Tensor]:
        """Feature maps of all adjacent slices; see `ImageDiscriminator.features`."""
        return self.discriminator.features(self._joined(volumes))

    def call(self, volumes: tf.Tensor, training: bool = False) -> tf.Tensor | tuple[tf.Tensor, ...]:
        """Classify volumes as real or synthetic.

        Args:
            volumes: `[batch, depth, height, width, channels]` in [-1, 1], with a depth of at least
                `count`.
            training: Passed on.

        Returns:
            Logits of the discriminator, one image for each `count` adjacent slices.
        """
        return self.discriminator(self._joined(volumes), training=training)

    def _joined(self, volumes: tf.Tensor) -> tf.Tensor:
        """`[batch * (depth - count + 1), height, width, count * channels]`."""
        batch, depth, height, width, channels = volumes.shape
        windows = depth - self.count + 1
        parts = [volumes[:, first : first + windows] for first in range(self.count)]
        joined = tf.concat(parts, axis=-1)
        size = [None if batch is None else batch * windows, height, width, self.count * channels]
        return tf.ensure_shape(tf.reshape(joined, [-1, *size[1:]]), size)

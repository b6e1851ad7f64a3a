"""A 3D generator whose random fields belong to places of a volume, not of the part it is given."""

from __future__ import annotations

import keras
import tensorflow as tf

from medusis_tf.layers.pixel_noise import unit_fields
from medusis_tf.models.generators.conditional import ConditionalGenerator


class WrappedGenerator(keras.Model):
    """A painter of volumes, made of a generator.

    Args:
        generator: The generator, built.
        name: Name of the network.
    """

    def __init__(self, generator: ConditionalGenerator, name: str):
        super().__init__(name=name)
        self.generator = generator
        self.built = True

    @property
    def noise_shape(self) -> tuple[int, ...] | None:
        """Shape of the noise of one volume."""
        return self.generator.noise_shape

    @property
    def stride(self) -> int:
        """Number by which height and width, and in 3D the depth, must be divisible."""
        return self.generator.stride

    @property
    def sparse(self) -> bool:
        """Whether SPADE computes distinct neighbourhoods only."""
        return self.generator.sparse


class VolumeGenerator(WrappedGenerator):
    """Paints parts of volumes with a 3D generator.

    Args:
        generator: Generator of rank 3, built.
    """

    def __init__(self, generator: ConditionalGenerator, name: str = "generator"):
        super().__init__(generator, name)
        self._fields = PlacedFields()
        for layer in generator.pixel_noises:
            layer.draw = self._fields

    def call(
        self,
        one_hot: tf.Tensor,
        noise: tf.Tensor | None = None,
        training: bool = False,
        first_slice: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Synthesize volumes.

        Args:
            one_hot: `[batch, depth, height, width, num_classes]`.
            noise: `[batch, *noise_shape]`, standard normal; None without noise.
            training: Whether to use batch statistics and update the spectral norms.
            first_slice: `[batch]` int32, number of the first slice in its volume, divisible by
                `stride`; None for 0. Parts that overlap then have the same random fields.

        Returns:
            `[batch, depth, height, width, image_channels]`, float32 in [-1, 1].
        """
        if first_slice is None:
            first_slice = tf.zeros([tf.shape(one_hot)[0]], tf.int32)
        self._fields.first_slice = first_slice
        self._fields.depth = one_hot.shape[1] or tf.shape(one_hot)[1]
        return self.generator(one_hot, noise, training=training)


class PlacedFields:
    """Random fields of white noise, of which each slice depends on its place in the volume.

    Given as `PixelNoise.draw`.

    Attributes:
        first_slice: `[batch]` int32, number of the first slice in its volume. Set it and `depth`
            before each call of the network.
        depth: Number of slices of the label map.
    """

    first_slice: tf.Tensor
    depth: int | tf.Tensor

    def __call__(
        self,
        noise: tf.Tensor,
        height: int | tf.Tensor,
        width: int | tf.Tensor,
        index: int,
        depth: int | tf.Tensor,
    ) -> tf.Tensor:
        """Draw the fields of volumes; see `unit_fields`."""
        divisor = self.depth // depth
        places = self.first_slice[:, tf.newaxis] // divisor + tf.range(depth)
        repeated = tf.repeat(noise, depth, axis=0)
        knots = tf.reshape(places, [-1])
        fields = unit_fields(repeated, height, width, index, knot=knots)
        return tf.reshape(fields, [-1, depth, height, width, 1])

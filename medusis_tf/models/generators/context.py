"""The 2.5D generator: paints each slice from the label maps of its neighbours too."""

from __future__ import annotations

import tensorflow as tf

from medusis_tf.layers.pixel_noise import drifting_fields
from medusis_tf.models.generators.conditional import ConditionalGenerator
from medusis_tf.models.generators.volume import WrappedGenerator


class ContextGenerator(WrappedGenerator):
    """Paints volumes slice by slice with a generator of slices.

    A slice is painted from its own one-hot label map, followed by those of its neighbours as
    further channels, the nearest first. All slices of a volume share the noise vector; their random
    fields may change along the axis.

    Args:
        generator: Generator with `context * num_classes` classes, built.
        num_classes: Channels of the one-hot label map.
        context: Number of label maps that a slice is painted from, odd.
        noise_length: Number of slices along which random fields change; 0 for the same fields in
            all slices.
    """

    def __init__(
        self,
        generator: ConditionalGenerator,
        num_classes: int,
        context: int,
        noise_length: float = 0.0,
        name: str = "generator",
    ):
        super().__init__(generator, name)
        self.num_classes = num_classes
        self.context = context
        self.noise_length = noise_length
        if noise_length > 0:
            self._fields = DriftingFields()
            for layer in generator.pixel_noises:
                layer.draw = self._fields

    @property
    def margin(self) -> int:
        """Number of neighbours before and after a slice."""
        return self.context // 2

    def call(
        self,
        one_hot: tf.Tensor,
        noise: tf.Tensor | None = None,
        training: bool = False,
        first_slice: tf.Tensor | None = None,
        has_margin: bool = False,
    ) -> tf.Tensor:
        """Synthesize volumes.

        Args:
            one_hot: `[batch, depth, height, width, num_classes]`.
            noise: `[batch, *noise_shape]`, standard normal; None without noise.
            training: Whether to use batch statistics and update the spectral norms.
            first_slice: `[batch]` int32, number of the first slice in its volume, from which
                the random fields follow; None for 0. Parts of one volume then fit together.
            has_margin: Whether the first and last `margin` label maps are neighbours only, which
                are not painted. Otherwise the label maps at both ends are repeated.

        Returns:
            `[batch, depth, height, width, image_channels]`, float32 in [-1, 1]; with a margin, the
            depth is less by twice its size.
        """
        margin = self.margin
        if not has_margin and margin > 0:
            ends = [tf.repeat(end, margin, axis=1) for end in (one_hot[:, :1], one_hot[:, -1:])]
            one_hot = tf.concat([ends[0], one_hot, ends[1]], axis=1)
        batch, static = tf.shape(one_hot)[0], one_hot.shape
        depth = tf.shape(one_hot)[1] - 2 * margin
        around = [one_hot[:, margin + o : margin + o + depth] for o in self._offsets]
        joined = tf.concat(around, axis=-1)
        flat = tf.reshape(joined, tf.concat([[batch * depth], tf.shape(joined)[2:]], axis=0))
        known = None if None in static[:2] else static[0] * (static[1] - 2 * margin)
        flat = tf.ensure_shape(flat, [known, *static[2:4], self.context * self.num_classes])
        if noise is not None:
            noise = tf.repeat(noise, depth, axis=0)
        if self.noise_length > 0:
            first = tf.zeros([batch], tf.int32) if first_slice is None else first_slice
            number = first[:, tf.newaxis] + tf.range(depth)
            self._fields.places = tf.cast(tf.reshape(number, [-1]), tf.float32) / self.noise_length
        images = self.generator(flat, noise, training=training)
        shape = tf.concat([[batch, depth], tf.shape(images)[1:]], axis=0)
        known_depth = None if static[1] is None else static[1] - 2 * margin
        known_shape = [static[0], known_depth, *images.shape[1:]]
        return tf.ensure_shape(tf.reshape(images, shape), known_shape)

    @property
    def _offsets(self) -> list[int]:
        """Offsets of the label maps: 0, -1, 1, -2, 2, ... The own one is first, as for slices."""
        pairs = [(-n, n) for n in range(1, self.margin + 1)]
        return [0, *(offset for pair in pairs for offset in pair)]


class DriftingFields:
    """Random fields that change smoothly along the axis of a volume, given as `PixelNoise.draw`.

    Attributes:
        places: `[batch]` float32, place of each slice; see `drifting_fields`. Set it before each
            call of the network.
    """

    places: tf.Tensor

    def __call__(
        self, noise: tf.Tensor, height: int | tf.Tensor, width: int | tf.Tensor, index: int
    ) -> tf.Tensor:
        """Draw the fields of slices; see `unit_fields`."""
        return drifting_fields(noise, height, width, index, self.places)

"""Random fields that give regions of one class a texture."""

import math

import keras
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable("medusis_tf")
class PixelNoise(keras.layers.Layer):
    """Adds white noise to features, with a weight for each channel that is 0 at first.

    The field is a function of the noise vector, so an image depends on its label map and noise
    vector alone. Truncated noise has weaker fields, and noise of zeros has none.

    Args:
        index: Number of the layer. Layers with different numbers have independent fields.

    Attributes:
        draw: Draws standard normal fields, as `unit_fields` does. A graph without random numbers
            gives its own.

    Reference:
        A style-based generator architecture (StyleGAN), https://arxiv.org/abs/1812.04948,
        section 3.2, where the noise is drawn separately.
    """

    def __init__(self, index=0, **kwargs):
        super().__init__(**kwargs)
        self.index = index
        self.draw = unit_fields

    def build(self, features_shape, noise_shape=None):
        self.scale = self.add_weight(name="scale", shape=(features_shape[-1],), initializer="zeros")

    def call(self, features, noise):
        """Add the field of each image.

        Args:
            features: `[batch, height, width, channels]`, or
                `[batch, depth, height, width, channels]`.
            noise: `[batch, ...]` float32.

        Returns:
            Features of the same shape.
        """
        *depth, height, width = ops.shape(features)[1:-1]
        strength = noise_strength(noise)
        if depth:
            fields = self.draw(noise, height, width, self.index, depth[0]) * strength[..., None]
        else:
            fields = self.draw(noise, height, width, self.index) * strength
        return features + self.scale * ops.cast(fields, features.dtype)

    def compute_output_shape(self, features_shape, noise_shape=None):
        return features_shape

    def get_config(self):
        return {**super().get_config(), "index": self.index}


# An odd number, so that knots have different seeds; far from the numbers of fields.
_KNOT_STRIDE = 0x3C6EF35F


def unit_fields(noise, height, width, index, depth=None, knot=None):
    """Draw one field of white noise for each noise vector.

    Args:
        noise: `[batch, ...]`. Equal noise has equal fields.
        height: Rows of the field.
        width: Columns of the field.
        index: Number of the field. Different numbers give independent fields.
        depth: Slices of the field of a volume; None for an image.
        knot: `[batch]` int32. Different numbers give independent fields too; None for 0.

    Returns:
        `[batch, height, width, 1]` or `[batch, depth, height, width, 1]` float32, standard normal.
    """
    sides = [height, width] if depth is None else [depth, height, width]
    noise = _flat(noise)
    # Of integers: a sum of floats depends on its order, which differs between devices.
    bits = tf.reduce_sum(tf.bitcast(noise, tf.int32), axis=1)
    if knot is not None:
        bits += knot * _KNOT_STRIDE
    seeds = tf.stack([bits, tf.bitcast(noise[:, 0], tf.int32) + index], axis=1)

    def draw(seed):
        # Philox gives the same numbers on every device.
        return tf.random.stateless_normal([*sides, 1], seed, alg="philox")

    fields = tf.map_fn(draw, seeds, fn_output_signature=tf.float32)
    return tf.ensure_shape(fields, [None, *_static(*sides), 1])


def drifting_fields(noise, height, width, index, places):
    """Draw fields that change smoothly along the axis of a volume.

    Between the fields of two successive knots, `cos(t) a + sin(t) b` with t from 0 to 90 degrees
    has the variance of both everywhere.

    Args:
        noise: `[batch, ...]`, as for `unit_fields`.
        height: Rows of the field.
        width: Columns of the field.
        index: Number of the field.
        places: `[batch]` float32, place of each slice, in distances between knots.

    Returns:
        `[batch, height, width, 1]` float32, standard normal. At place 0, as `unit_fields`.
    """
    knot = tf.floor(places)
    angle = ((places - knot) * (math.pi / 2))[:, None, None, None]
    before, after = (
        unit_fields(noise, height, width, index, knot=tf.cast(each, tf.int32))
        for each in (knot, knot + 1)
    )
    return tf.cos(angle) * before + tf.sin(angle) * after


def noise_strength(noise):
    """Root mean square of each noise vector: about 1 for normal noise, less if truncated.

    Args:
        noise: `[batch, ...]`.

    Returns:
        `[batch, 1, 1, 1]` float32.
    """
    square = tf.reduce_mean(tf.square(_flat(noise)), axis=1)
    return tf.stop_gradient(tf.sqrt(square))[:, None, None, None]


def _flat(noise):
    return tf.reshape(tf.cast(noise, tf.float32), [tf.shape(noise)[0], -1])


def _static(*lengths):
    return [length if isinstance(length, int) else None for length in lengths]

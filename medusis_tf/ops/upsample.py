"""Double the resolution of feature maps and of Haar bands, of images and of volumes."""

import tensorflow as tf
from keras import ops

from medusis_tf.ops.haar import haar_synthesis


def upsample_nearest(features):
    """Double all sides by repeating each pixel.

    Args:
        features: `[batch, height, width, channels]` or `[batch, depth, height, width, channels]`.

    Returns:
        `[batch, 2 * height, 2 * width, channels]`, or with `2 * depth`.
    """
    # The gradient of `tf.image.resize` has no deterministic GPU kernel, and `tf.repeat` makes ten
    # times as many operations, which slow the first step down.
    batch, *sides, channels = ops.shape(features)
    for axis in reversed(_spatial_axes(features)):
        features = tf.stack([features, features], axis + 1)
    return tf.reshape(features, [batch, *(2 * side for side in sides), channels])


def upsample_linear(features):
    """Double all sides by linear interpolation: half-pixel centres, edges repeated.

    Args:
        features: `[batch, height, width, channels]` or `[batch, depth, height, width, channels]`.

    Returns:
        `[batch, 2 * height, 2 * width, channels]`, or with `2 * depth`.
    """
    for axis in _spatial_axes(features):
        sides = list(ops.shape(features))
        sides[axis] *= 2
        features = tf.reshape(tf.stack(_linear_pairs(features, axis), axis + 1), sides)
    return features


def _linear_pairs(features, axis):
    """Interpolate the two pixels into which doubling splits each pixel."""

    @tf.custom_gradient
    def pairs(features):
        before, after = _adjacent(features, axis)
        middle = 0.75 * features

        def gradient(of_first, of_second):
            # TensorFlow's gradients of slices would pad each of them to the size of the image.
            others = (slice(None),) * axis
            after = tf.concat(
                [of_first[(*others, slice(1, None))], of_second[(*others, slice(-1, None))]], axis
            )
            before = tf.concat(
                [of_first[(*others, slice(1))], of_second[(*others, slice(-1))]], axis
            )
            return 0.75 * (of_first + of_second) + 0.25 * (before + after)

        return (middle + 0.25 * before, middle + 0.25 * after), gradient

    return pairs(features)


def _spatial_axes(features):
    return range(1, len(features.shape) - 1)


def upsample_bands(bands):
    """Double the resolution of an image or volume given as Haar bands, and return its Haar bands.

    Equal to synthesis, linear doubling (half-pixel centres, edges repeated) and analysis. The
    doubled image is never computed: the sums and differences of its pixel pairs are short filters
    on the image itself, `[1, 6, 1] / 4` and `[1, 0, -1] / 4` per axis.

    Args:
        bands: `[batch, height, width, 4 * channels]` or `[batch, depth, height, width,
            8 * channels]`, in the order of `haar_analysis`.

    Returns:
        Bands whose sides are twice as long.
    """
    image = haar_synthesis(bands)
    axes = _spatial_axes(image)
    parts = [image]
    for axis in axes:
        parts = [half for part in parts for half in _pair_sum_and_difference(part, axis)]
    if len(axes) == 2:
        # The bands of an image have the vertical detail before the horizontal one.
        approximation, horizontal, vertical, diagonal = parts
        parts = [approximation, vertical, horizontal, diagonal]
    doubled = tf.concat(parts, axis=-1)
    return doubled * tf.constant(2.0 ** (-len(axes) / 2), doubled.dtype)


def _pair_sum_and_difference(image, axis):
    """Compute sum and difference of the two pixels into which doubling splits each pixel."""
    quarter, middle = tf.constant(0.25, image.dtype), tf.constant(1.5, image.dtype)

    def pair_sum(values):
        before, after = _adjacent(values, axis)
        return quarter * (before + after) + middle * values

    @tf.custom_gradient
    def pair(image):
        before, after = _adjacent(image, axis)

        def gradient(of_sum, of_difference):
            # The sum is its own adjoint. That of the difference has edges of the other sign.
            # TensorFlow's gradients of slices would pad each of them to the size of the image.
            before, after = _adjacent(of_difference, axis, edge_sign=-1.0)
            return pair_sum(of_sum) + quarter * (after - before)

        return (pair_sum(image), quarter * (before - after)), gradient

    return pair(image)


def _adjacent(image, axis, edge_sign=1.0):
    """Return the previous and the next pixel along an axis; edge pixels are repeated.

    Args:
        image: Image or volume.
        axis: Axis.
        edge_sign: Factor of the repeated edge pixels.
    """
    others, sign = (slice(None),) * axis, tf.constant(edge_sign, image.dtype)
    first, last = image[(*others, slice(1))], image[(*others, slice(-1, None))]
    before = tf.concat([sign * first, image[(*others, slice(-1))]], axis)
    after = tf.concat([image[(*others, slice(1, None))], sign * last], axis)
    return before, after

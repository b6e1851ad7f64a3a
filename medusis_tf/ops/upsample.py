"""Double the resolution of feature maps and of Haar bands, of images and of volumes."""

import tensorflow as tf

from medusis_tf.ops.haar import haar_synthesis


def upsample_nearest(features):
    """Double all sides by repeating each pixel.

    Args:
        features: `[batch, height, width, channels]` or `[batch, depth, height, width, channels]`.

    Returns:
        `[batch, 2 * height, 2 * width, channels]`, or with `2 * depth`.
    """
    # The gradient of `tf.image.resize` has no deterministic GPU kernel.
    for axis in reversed(_spatial_axes(features)):
        features = tf.repeat(features, 2, axis=axis)
    return features


def upsample_linear(features):
    """Double all sides by linear interpolation: half-pixel centres, edges repeated.

    Args:
        features: `[batch, height, width, channels]` or `[batch, depth, height, width, channels]`.

    Returns:
        `[batch, 2 * height, 2 * width, channels]`, or with `2 * depth`.
    """
    for axis in _spatial_axes(features):
        size = features.shape[axis]
        length = tf.shape(features)[axis] if size is None else size
        places = tf.range(length)
        before = tf.gather(features, tf.maximum(places - 1, 0), axis=axis)
        after = tf.gather(features, tf.minimum(places + 1, length - 1), axis=axis)
        pairs = tf.stack(
            [0.25 * before + 0.75 * features, 0.25 * after + 0.75 * features], axis + 1
        )
        shape = tf.unstack(tf.shape(features))
        shape[axis] = 2 * length
        static = list(features.shape)
        static[axis] = None if size is None else 2 * size
        features = tf.ensure_shape(tf.reshape(pairs, shape), static)
    return features


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

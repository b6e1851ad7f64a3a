"""Otsu's threshold of each image or volume of a batch."""

import tensorflow as tf

_BINS = 256


def otsu_threshold(images):
    """Compute the threshold that best separates an image into a dark and a bright class.

    The result is the midpoint between the means of the two classes, which is the optimum for a
    histogram without gaps. In a gap, every level separates the pixels equally well. There,
    `skimage.filters.threshold_otsu` returns the lowest level, which is itself dark. The threshold
    of a constant image is its value.

    Args:
        images: `[batch, height, width]` or `[batch, depth, height, width]` floats.

    Returns:
        `[batch]` float32, without a gradient.

    Reference:
        Otsu, A threshold selection method from gray-level histograms, IEEE Trans. SMC 1979
    """
    pixels = tf.cast(tf.reshape(images, [tf.shape(images)[0], -1]), tf.float32)
    pixels = tf.stop_gradient(pixels)
    low = tf.reduce_min(pixels, axis=1, keepdims=True)
    width = (tf.reduce_max(pixels, axis=1, keepdims=True) - low) / _BINS
    counts = _histogram(tf.math.divide_no_nan(pixels - low, width))
    dark = tf.cumsum(counts, axis=1)
    bright = dark[:, -1:] - dark
    # Means are in bins, counted from the lowest.
    sums = tf.cumsum(counts * tf.range(_BINS, dtype=tf.float32), axis=1)
    dark_mean = tf.math.divide_no_nan(sums, dark)
    bright_mean = tf.math.divide_no_nan(sums[:, -1:] - sums, bright)
    best = tf.argmax(dark * bright * tf.square(bright_mean - dark_mean), axis=1)
    middle = tf.gather((dark_mean + bright_mean) / 2, best, axis=1, batch_dims=1)
    return low[:, 0] + width[:, 0] * (middle + 0.5)


def _histogram(positions):
    """Count positions `[batch, pixels]`, given in bins: `[batch, bins]`."""
    batch = tf.shape(positions)[0]
    bins = tf.clip_by_value(tf.cast(positions, tf.int32), 0, _BINS - 1)
    flat = tf.reshape(bins + tf.range(batch)[:, tf.newaxis] * _BINS, [-1])
    counts = tf.math.unsorted_segment_sum(tf.ones_like(flat, tf.float32), flat, batch * _BINS)
    return tf.reshape(counts, [batch, _BINS])

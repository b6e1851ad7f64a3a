"""Otsu's threshold of every image of a batch."""

import tensorflow as tf

_BINS = 256


def otsu_threshold(images):
    """The level that best parts an image's pixels into a dark and a bright class.

    Midway between the means of the two classes, where the best level lies if there are pixels of
    all levels. Where there are none in between, every level there parts them alike:
    `skimage.filters.threshold_otsu` then gives the lowest, which is dark itself. A constant image
    has its own value.

    Args:
        images: `[batch, height, width]` floats.

    Returns:
        `[batch]` float32, without a gradient.

    Otsu, A threshold selection method from gray-level histograms, IEEE Trans. SMC 1979.
    """
    pixels = tf.cast(tf.reshape(images, [tf.shape(images)[0], -1]), tf.float32)
    pixels = tf.stop_gradient(pixels)
    low = tf.reduce_min(pixels, axis=1, keepdims=True)
    width = (tf.reduce_max(pixels, axis=1, keepdims=True) - low) / _BINS
    counts = _histogram(tf.math.divide_no_nan(pixels - low, width))
    dark = tf.cumsum(counts, axis=1)
    bright = dark[:, -1:] - dark
    # In bins, from the lowest on.
    sums = tf.cumsum(counts * tf.range(_BINS, dtype=tf.float32), axis=1)
    dark_mean = tf.math.divide_no_nan(sums, dark)
    bright_mean = tf.math.divide_no_nan(sums[:, -1:] - sums, bright)
    best = tf.argmax(dark * bright * tf.square(bright_mean - dark_mean), axis=1)
    middle = tf.gather((dark_mean + bright_mean) / 2, best, axis=1, batch_dims=1)
    return low[:, 0] + width[:, 0] * (middle + 0.5)


def _histogram(positions):
    """Counts `[batch, bins]` of positions `[batch, pixels]`, in units of bins."""
    batch = tf.shape(positions)[0]
    bins = tf.clip_by_value(tf.cast(positions, tf.int32), 0, _BINS - 1)
    flat = tf.reshape(bins + tf.range(batch)[:, tf.newaxis] * _BINS, [-1])
    counts = tf.math.unsorted_segment_sum(tf.ones_like(flat, tf.float32), flat, batch * _BINS)
    return tf.reshape(counts, [batch, _BINS])

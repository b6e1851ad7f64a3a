"""Smoothing of images over 3x3 pixels."""

import tensorflow as tf


def smooth(images):
    """Filter with [1, 2, 1] / 4 along rows and columns; borders are continued.

    Args:
        images: `[batch, height, width, channels]`.

    Returns:
        Same shape and dtype; the values stay within the range of the input's.
    """
    for axis in (1, 2):
        first, last = _part(images, axis, 0, 1), _part(images, axis, -1, None)
        before = tf.concat([first, _part(images, axis, 0, -1)], axis)
        behind = tf.concat([_part(images, axis, 1, None), last], axis)
        images = 0.25 * before + 0.5 * images + 0.25 * behind
    return images


def _part(images, axis, start, stop):
    chosen = slice(start, stop)
    return images[:, chosen] if axis == 1 else images[:, :, chosen]

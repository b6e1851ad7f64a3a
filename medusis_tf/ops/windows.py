"""Features cut into windows, and which pixels of a window belong together."""

import tensorflow as tf
from keras import ops


def split_windows(features, window, shift=0):
    """Cut features into windows; those at the bottom and at the right are padded with zeros.

    Args:
        features: `[batch, height, width, channels]`.
        window: Height and width of a window.
        shift: Rows and columns by which the grid of windows is moved down and right. The first
            rows and columns are then in one window with the last ones: `window_mask` separates
            them, as in the Swin transformer.

    Returns:
        `[batch * windows, window**2, channels]`, windows and their pixels in reading order.
    """
    batch, height, width, channels = ops.shape(features)
    below, right = -height % window, -width % window
    # XLA and export formats know the sizes: they need no padding where none is due.
    if not (isinstance(below, int) and isinstance(right, int) and below == right == 0):
        features = tf.pad(features, [[0, 0], [0, below], [0, right], [0, 0]])
    if shift:
        features = _moved(features, shift)
    # Only four axes, because some export formats transpose no more.
    rows, columns = (height + below) // window, (width + right) // window
    features = ops.reshape(features, (batch * rows, window, columns, window * channels))
    features = ops.transpose(features, (0, 2, 1, 3))
    return ops.reshape(features, (batch * rows * columns, window**2, channels))


def merge_windows(pixels, features, window, shift=0):
    """Reverse `split_windows`.

    Args:
        pixels: `[batch * windows, window**2, channels]`.
        features: `[batch, height, width, ...]`, for the sizes.
        window: Height and width of a window.
        shift: As it was for `split_windows`.

    Returns:
        `[batch, height, width, channels]`.
    """
    batch, height, width, _ = ops.shape(features)
    channels = pixels.shape[-1]
    rows, columns = (height + -height % window) // window, (width + -width % window) // window
    merged = ops.reshape(pixels, (batch * rows, columns, window, window * channels))
    merged = ops.transpose(merged, (0, 2, 1, 3))
    merged = ops.reshape(merged, (batch, rows * window, columns * window, channels))
    if shift:
        merged = _moved(merged, -shift)
    return tf.ensure_shape(merged[:, :height, :width], (*features.shape[:3], channels))


def window_mask(features, window, shift=0):
    """Which pixels of each window may attend to which.

    Args:
        features: `[batch, height, width, ...]`, for the sizes.
        window: Height and width of a window.
        shift: As for `split_windows`.

    Returns:
        `[batch * windows, 1, window**2, window**2]` bool; None if all pixels of a window attend to
        each other.
    """
    batch, height, width, _ = ops.shape(features)
    padding = [-side % window for side in (height, width)]
    if shift == 0 and all(isinstance(each, int) and each == 0 for each in padding):
        return None
    inside = tf.ones([1, height, width, 1], tf.int32)
    # The first rows and columns, which share their windows with the last ones.
    wrapped = [tf.cast(tf.range(side) < shift, tf.int32) for side in (height, width)]
    part = inside + wrapped[0][None, :, None, None] + 2 * wrapped[1][None, None, :, None]
    part = split_windows(part, window, shift)[..., 0]  # 0 in the padding
    mask = part[:, None, :, None] == part[:, None, None, :]
    return tf.tile(mask, [batch, 1, 1, 1])


def _moved(features, shift):
    """Move rows and columns up and left; what leaves the features enters at the other side."""
    features = ops.concatenate([features[:, shift:], features[:, :shift]], axis=1)
    return ops.concatenate([features[:, :, shift:], features[:, :, :shift]], axis=2)

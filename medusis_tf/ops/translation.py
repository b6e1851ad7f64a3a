"""Shift images by whole pixels."""

import tensorflow as tf


def translate(images: tf.Tensor, offsets: tf.Tensor, fill: float = -1.0) -> tf.Tensor:
    """Shift every image by its own whole number of pixels.

    Args:
        images: `[batch, height, width, channels]`.
        offsets: `[batch, 2]` integers: rows down and columns right.
        fill: Value of the pixels that come in from outside; -1 is air in a scaled MR slice.

    Returns:
        Same shape and dtype as `images`; differentiable with respect to them.
    """
    for axis in (1, 2):
        images = _shift(images, offsets[:, axis - 1], axis, fill)
    return images


def _shift(images: tf.Tensor, offsets: tf.Tensor, axis: int, fill: float) -> tf.Tensor:
    length = tf.shape(images)[axis]
    source = tf.range(length)[None, :] - tf.cast(offsets, tf.int32)[:, None]
    inside = (source >= 0) & (source < length)
    shifted = tf.gather(images, tf.clip_by_value(source, 0, length - 1), axis=axis, batch_dims=1)
    inside = inside[:, :, None, None] if axis == 1 else inside[:, None, :, None]
    shifted = tf.where(inside, shifted, tf.cast(fill, images.dtype))
    return tf.ensure_shape(shifted, images.shape)

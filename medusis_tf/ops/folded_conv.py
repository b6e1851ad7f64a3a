"""A convolution and the halving after it, or the doubling before it, as one strided convolution."""

import numpy as np
import tensorflow as tf


def conv_then_halve(features, kernel):
    """Convolve, zero-padded, then average every 2x2 cell: 16 products a cell instead of 36.

    Args:
        features: `[batch, 2 * height, 2 * width, inputs]`.
        kernel: `[4, 4, inputs, filters]`, from `fold_for_halving`.

    Returns:
        `[batch, height, width, filters]`.
    """
    # "SAME" pads both sides by 1; the same padding given explicitly took three times as long.
    return tf.nn.conv2d(features, kernel, strides=2, padding="SAME")


def double_then_conv(features, kernel):
    """Repeat every pixel 2x2 times, then convolve, zero-padded: 16 products instead of 36.

    Args:
        features: `[batch, height, width, inputs]`.
        kernel: `[4, 4, filters, inputs]`, from `fold_for_doubling`.

    Returns:
        `[batch, 2 * height, 2 * width, filters]`.
    """
    batch, height, width, _ = tf.unstack(tf.shape(features))
    shape = [batch, 2 * height, 2 * width, kernel.shape[2]]
    doubled = tf.nn.conv2d_transpose(features, kernel, shape, strides=2, padding="SAME")
    lengths = [None if length is None else 2 * length for length in features.shape[1:3]]
    return tf.ensure_shape(doubled, [features.shape[0], *lengths, kernel.shape[2]])


def fold_for_halving(kernel):
    """The kernel of `conv_then_halve`.

    Args:
        kernel: `[3, 3, inputs, filters]`.
    """
    return _apply(_SUMS / 4.0, kernel)


def fold_for_doubling(kernel):
    """The kernel of `double_then_conv`, with inputs and filters exchanged.

    Args:
        kernel: `[3, 3, inputs, filters]`.
    """
    return tf.transpose(_apply(_SUMS[:, ::-1], kernel), [0, 1, 3, 2])


def _apply(matrix, kernel):
    inputs, filters = kernel.shape[2:]
    folded = tf.matmul(tf.constant(matrix, kernel.dtype), tf.reshape(kernel, [9, -1]))
    return tf.reshape(folded, [4, 4, inputs, filters])


def _two_dimensional(sums):
    return np.kron(sums, sums).astype(np.float32)


# Each tap of 3 falls on two neighbouring ones of 4.
_SUMS = _two_dimensional(np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]]))

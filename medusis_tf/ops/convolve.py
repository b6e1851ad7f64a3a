"""Convolution, as a product of matrices where the kernel outweighs the image."""

import math

import tensorflow as tf

_MAX_PIXELS = 64


def convolve(features, kernel):
    """Zero-padded convolution that keeps height and width.

    A 3x3 kernel on a batch of known shape and at most 64 pixels becomes one product of matrices.
    Measured on CPU, 1024 channels, gradients included: 4x4 pixels in a quarter of the time, 8x8
    in half of it, 16x16 no faster.

    Args:
        features: `[batch, height, width, inputs]`.
        kernel: `[size, size, inputs, filters]`, size odd.

    Returns:
        `[batch, height, width, filters]`.
    """
    sides = features.shape[:3]
    is_small = None not in sides and math.prod(sides) <= _MAX_PIXELS
    if kernel.shape[0] == 3 and is_small:
        return _multiply(features, kernel)
    return tf.nn.conv2d(features, kernel, strides=1, padding="SAME")


def _multiply(features, kernel):
    batch, height, width, inputs = features.shape
    filters = kernel.shape[-1]
    padded = tf.pad(features, [[0, 0], [1, 1], [1, 1], [0, 0]])
    shifted = [
        padded[:, row : row + height, column : column + width]
        for row in range(3)
        for column in range(3)
    ]
    neighbourhoods = tf.reshape(tf.concat(shifted, axis=-1), [-1, 9 * inputs])
    products = tf.matmul(neighbourhoods, tf.reshape(kernel, [9 * inputs, filters]))
    return tf.reshape(products, [batch, height, width, filters])

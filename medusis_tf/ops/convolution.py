"""Convolutions of images and volumes in the form that is fastest for their size."""

import functools
import math

import numpy as np
import tensorflow as tf
from keras import ops

from medusis_tf.ops.wide_convolution import convolve_wide, is_wide, transpose_wide

_MAX_PIXELS_TO_MULTIPLY = 64


def convolve(features, kernel, strides=1, padding="same"):
    """Convolve images or volumes.

    On a CPU, two cases of images take another form. The values are equal up to rounding.

    - A 3x3 kernel on a batch of at most 64 pixels becomes one matrix product. With 1024 channels,
      gradients included, this took a quarter of the time at 4x4 pixels and half at 8x8; at 16x16
      it saves nothing.
    - A kernel of many channels has other gradients (`medusis_tf.ops.wide_convolution`).

    Volumes have no such case: at all sizes, a matrix product or sums of convolutions of slices,
    gradients included, took longer than the convolution of the volume.

    Args:
        features: `[batch, height, width, inputs]` or `[batch, depth, height, width, inputs]`.
        kernel: `[size, size, inputs, filters]`, or `[size, size, size, inputs, filters]` for
            volumes.
        strides: Step in all directions.
        padding: `"same"` (zeros) or `"valid"`.

    Returns:
        `[batch, new_height, new_width, filters]` or
        `[batch, new_depth, new_height, new_width, filters]`.
    """
    if spatial_rank(features) == 3:
        return _conv3d(features, kernel, strides, padding)
    shape = features.shape[:3]
    is_small = None not in shape and math.prod(shape) <= _MAX_PIXELS_TO_MULTIPLY
    if kernel.shape[0] == 3 and is_small and strides == 1 and padding == "same" and not has_gpu():
        return _multiply(features, kernel)
    return _conv2d(features, kernel, strides, padding)


def spatial_rank(features) -> int:
    """Number of spatial axes: 2 for a batch of images with channels, 3 for one of volumes."""
    return len(features.shape) - 2


def _conv2d(features, kernel, strides, padding):
    if is_wide(kernel) and not has_gpu():
        return convolve_wide(features, kernel, strides, padding.upper())
    return tf.nn.conv2d(features, kernel, strides=strides, padding=padding.upper())


def _conv3d(features, kernel, strides, padding):
    return tf.nn.conv3d(features, kernel, [1, strides, strides, strides, 1], padding.upper())


def _multiply(features, kernel):
    batch, height, width, inputs = features.shape
    filters = kernel.shape[-1]
    around = tf.reshape(tf.concat(neighbours(features), axis=-1), [-1, 9 * inputs])
    products = _product(around, tf.reshape(kernel, [9 * inputs, filters]))
    return tf.reshape(products, [batch, height, width, filters])


@tf.custom_gradient
def _product(rows, matrix):
    """Product of few rows with a large matrix.

    The gradient of `tf.matmul` with respect to the rows takes 2 to 4 times as long on two cores, in
    float32 with 1024 channels.
    """

    def gradient(upstream):
        of_rows = tf.transpose(tf.matmul(matrix, upstream, transpose_b=True))
        return of_rows, tf.matmul(rows, upstream, transpose_a=True)

    return tf.matmul(rows, matrix), gradient


@functools.cache
def has_gpu() -> bool:
    """Whether TensorFlow has a GPU to run on."""
    return bool(tf.config.list_logical_devices("GPU"))


def neighbours(values, outside=0):
    """List the nine values of the 3x3 neighbourhood of each pixel, row by row.

    Slicing builds a matrix from them faster than `tf.image.extract_patches` does.

    Args:
        values: `[batch, height, width, ...]`.
        outside: Value outside the image; None for the values mirrored at the border, as in
            `pad_reflect`.

    Returns:
        Nine tensors with the shape of `values`. The fifth is `values`.
    """
    padded = pad_frame(values, outside)
    height, width = ops.shape(values)[1:3]
    return [
        padded[:, row : row + height, column : column + width]
        for row in range(3)
        for column in range(3)
    ]


def pad_frame(values, outside):
    """Add a pixel on each side of images.

    Args:
        values: `[batch, height, width, ...]`.
        outside: Value of the new pixels; None for the values mirrored at the border, as in
            `pad_reflect`.

    Returns:
        `[batch, height + 2, width + 2, ...]`.
    """
    margins = [[0, 0], [1, 1], [1, 1], *[[0, 0]] * (len(values.shape) - 3)]
    if outside is None:
        return tf.pad(values, margins, "SYMMETRIC")
    return tf.pad(values, margins, constant_values=outside)


def pad_reflect(features, margin):
    """Mirror features beyond the border, with the border repeated, as SciPy's mode `reflect`.

    Args:
        features: `[batch, height, width, channels]` or `[batch, depth, height, width, channels]`.
        margin: Width of the margin in pixels, at most the shortest side.

    Returns:
        Features whose sides are longer by `2 * margin`.
    """
    margins = [[margin, margin]] * spatial_rank(features)
    return tf.pad(features, [[0, 0], *margins, [0, 0]], "SYMMETRIC")


def conv_then_halve(features, kernel):
    """Convolve with zero padding, then average cells of 2 pixels along each axis.

    16 products per cell of an image instead of 36, and 64 per cell of a volume instead of 216.

    Args:
        features: `[batch, 2 * height, 2 * width, inputs]`, or
            `[batch, 2 * depth, 2 * height, 2 * width, inputs]`.
        kernel: `[4, 4, inputs, filters]` or `[4, 4, 4, inputs, filters]`, from `fold_for_halving`.

    Returns:
        `[batch, height, width, filters]` or `[batch, depth, height, width, filters]`.
    """
    # "SAME" pads both sides by 1. The same padding given explicitly took three times as long.
    if spatial_rank(features) == 3:
        return _conv3d(features, kernel, 2, "same")
    return _conv2d(features, kernel, 2, "same")


def double_then_conv(features, kernel):
    """Repeat each pixel twice along each axis, then convolve with zero padding.

    16 products per cell of an image instead of 36, and 64 per cell of a volume instead of 216.

    Args:
        features: `[batch, height, width, inputs]` or `[batch, depth, height, width, inputs]`.
        kernel: `[4, 4, filters, inputs]` or `[4, 4, 4, filters, inputs]`, from
            `fold_for_doubling`.

    Returns:
        `[batch, 2 * height, 2 * width, filters]` or
        `[batch, 2 * depth, 2 * height, 2 * width, filters]`.
    """
    filters = kernel.shape[-2]
    batch, *sides, _ = tf.unstack(tf.shape(features))
    shape = [batch, *(2 * side for side in sides), filters]
    if len(sides) == 2 and is_wide(kernel) and not has_gpu():
        doubled = transpose_wide(features, kernel, shape, 2, "SAME")
    else:
        transposed = tf.nn.conv3d_transpose if len(sides) == 3 else tf.nn.conv2d_transpose
        doubled = transposed(features, kernel, shape, strides=2, padding="SAME")
    lengths = [None if length is None else 2 * length for length in features.shape[1:-1]]
    return tf.ensure_shape(doubled, [features.shape[0], *lengths, filters])


def fold_for_halving(kernel):
    """Fold a kernel of size 3 and the averaging of cells into the kernel of `conv_then_halve`.

    Args:
        kernel: `[3, 3, inputs, filters]` or `[3, 3, 3, inputs, filters]`.

    Returns:
        `[4, 4, inputs, filters]` or `[4, 4, 4, inputs, filters]`.
    """
    rank = spatial_rank(kernel)
    return _apply(_sums(rank) / 2.0**rank, kernel)


def fold_for_doubling(kernel):
    """Fold the repetition of pixels and a kernel of size 3 into that of `double_then_conv`.

    Args:
        kernel: `[3, 3, inputs, filters]` or `[3, 3, 3, inputs, filters]`.

    Returns:
        `[4, 4, filters, inputs]` or `[4, 4, 4, filters, inputs]`: inputs and filters are swapped.
    """
    rank = spatial_rank(kernel)
    folded = _apply(_sums(rank)[:, ::-1], kernel)
    return tf.transpose(folded, [*range(rank), rank + 1, rank])


def _apply(matrix, kernel):
    *sizes, inputs, filters = kernel.shape
    folded = tf.matmul(
        tf.constant(matrix, kernel.dtype), tf.reshape(kernel, [math.prod(sizes), -1])
    )
    return tf.reshape(folded, [*(4 for _ in sizes), inputs, filters])


@functools.cache
def _sums(rank):
    """How each of the 3 taps along an axis contributes to two adjacent taps of the 4."""
    sums = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 1]])
    return functools.reduce(np.kron, [sums] * rank).astype(np.float32)

"""Convolution in the form that is fastest for its sizes."""

import math

import tensorflow as tf

from medusis_tf.ops.device import has_gpu
from medusis_tf.ops.neighbours import neighbours

_MAX_PIXELS_TO_MULTIPLY = 64
_MAX_WEIGHTS_IN_ONE = 2**19
_FILTERS_IN_SLICE = 64


def convolve(features, kernel, strides=1, padding="same"):
    """Convolve.

    On a CPU two cases take another form, the values being the same but for rounding. A 3x3 kernel
    on a batch of at most 64 pixels becomes one product of matrices; with 1024 channels, gradients
    included, that took a quarter of the time at 4x4 pixels, half of it at 8x8, and no less at
    16x16. A kernel too large for a core's cache, on a single image, is cut into slices of 64
    filters: 117 ms instead of 196 at 64x64 pixels and 512 channels. oneDNN orders its loops well
    for two images and more, and keeps the large kernel moving for one.

    Args:
        features: `[batch, height, width, inputs]`.
        kernel: `[size, size, inputs, filters]`.
        strides: Step in both directions.
        padding: `"same"` (zeros) or `"valid"`.

    Returns:
        `[batch, new_height, new_width, filters]`.
    """
    if kernel.shape[0] != 3 or has_gpu():
        return _conv2d(features, kernel, strides, padding)
    batch, shape = features.shape[0], features.shape[:3]
    is_small = None not in shape and math.prod(shape) <= _MAX_PIXELS_TO_MULTIPLY
    if is_small and strides == 1 and padding == "same":
        return _multiply(features, kernel)
    is_large = math.prod(kernel.shape) > _MAX_WEIGHTS_IN_ONE
    if not is_large or kernel.shape[-1] % _FILTERS_IN_SLICE or batch not in (1, None):
        return _conv2d(features, kernel, strides, padding)
    if batch == 1:
        return _convolve_in_slices(features, kernel, strides, padding)
    return tf.cond(
        tf.shape(features)[0] == 1,
        lambda: _convolve_in_slices(features, kernel, strides, padding),
        lambda: _conv2d(features, kernel, strides, padding),
    )


def _conv2d(features, kernel, strides, padding):
    return tf.nn.conv2d(features, kernel, strides=strides, padding=padding.upper())


def _convolve_in_slices(features, kernel, strides, padding):
    """Convolve 64 filters at a time; the gradients, fast in one piece, are left whole."""

    @tf.custom_gradient
    def convolve_slices(features, kernel):
        slices = tf.split(kernel, kernel.shape[-1] // _FILTERS_IN_SLICE, axis=-1)
        outputs = tf.concat([_conv2d(features, part, strides, padding) for part in slices], -1)

        def gradient(upstream):
            how = {"strides": [1, strides, strides, 1], "padding": padding.upper()}
            of_features = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(features), filter=kernel, out_backprop=upstream, **how
            )
            of_kernel = tf.raw_ops.Conv2DBackpropFilter(
                input=features, filter_sizes=tf.shape(kernel), out_backprop=upstream, **how
            )
            return tf.ensure_shape(of_features, features.shape), of_kernel

        return outputs, gradient

    return convolve_slices(features, kernel)


def _multiply(features, kernel):
    batch, height, width, inputs = features.shape
    filters = kernel.shape[-1]
    around = tf.reshape(tf.concat(neighbours(features), axis=-1), [-1, 9 * inputs])
    products = tf.matmul(around, tf.reshape(kernel, [9 * inputs, filters]))
    return tf.reshape(products, [batch, height, width, filters])

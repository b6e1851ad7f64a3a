"""Convolutions of images whose kernels are wide, with gradients that are fast on a CPU.

oneDNN reaches the peak of the machine with most convolutions, but not in the gradient with respect
to a wide kernel: 108 to 190 of 400 GFLOP/s in bfloat16 (two cores of an AMD EPYC, 512 channels). A
matrix product of all neighbourhoods with the upstream gradient took 0.45 to 0.95 of its time:

| 3x3, channels | output pixels | float32, ms | as a product | bfloat16, ms | as a product |
|---|---|---|---|---|---|
| 512 to 512 | 64x64 | 122 | 102 | 64 | 59 |
| 512 to 512, stride 2 | 32x32 | 55 | 29 | 27 | 16 |
| 128 to 512, stride 2 | 64x64 | 42 | 28 | 20 | 17 |
| 512 to 512, stride 2 | 8x8 | 4.3 | 3.0 | 5.9 | 2.1 |

Below 512 channels, the matrix of neighbourhoods costs more than it saves. It is formed up to
128 MiB.
"""

import math

import tensorflow as tf

_LEAST_WEIGHTS = 2**19
_LEAST_CHANNELS = 512
_MAX_MATRIX = 2**25  # 128 MiB in float32
_FILTERS_IN_SLICE = 64
_LEAST_PIXELS_TO_SLICE = 32 * 32


def is_wide(kernel: tf.Tensor) -> bool:
    """Whether a kernel `[size, size, inputs, filters]` has enough weights for these functions."""
    is_static = None not in kernel.shape
    return is_static and kernel.shape[0] > 1 and math.prod(kernel.shape) > _LEAST_WEIGHTS


def convolve_wide(features, kernel, strides, padding):
    """Convolve as `tf.nn.conv2d`, with other gradients.

    Args:
        features: `[batch, height, width, inputs]`.
        kernel: `[size, size, inputs, filters]`.
        strides: Step in both directions.
        padding: `"SAME"` or `"VALID"`.
    """

    @tf.custom_gradient
    def convolved(features, kernel):
        def gradient(upstream):
            of_features = transpose_wide(upstream, kernel, tf.shape(features), strides, padding)
            of_kernel = _kernel_gradient(features, upstream, kernel.shape, strides, padding)
            return tf.ensure_shape(of_features, features.shape), of_kernel

        return _forward(features, kernel, strides, padding), gradient

    return convolved(features, tf.convert_to_tensor(kernel))


def transpose_wide(features, kernel, shape, strides, padding):
    """Transposed convolution, as `tf.nn.conv2d_transpose`, with other gradients.

    Args:
        features: `[batch, height, width, filters]`.
        kernel: `[size, size, inputs, filters]`.
        shape: Shape of the result, `[batch, new_height, new_width, inputs]`.
        strides: Step in both directions, in the result.
        padding: `"SAME"` or `"VALID"`.
    """

    @tf.custom_gradient
    def transposed(features, kernel):
        def gradient(upstream):
            of_features = convolve_wide(upstream, kernel, strides, padding)
            of_kernel = _kernel_gradient(upstream, features, kernel.shape, strides, padding)
            return tf.ensure_shape(of_features, features.shape), of_kernel

        options = {"strides": [1, strides, strides, 1], "padding": padding}
        return tf.raw_ops.Conv2DBackpropInput(
            input_sizes=shape, filter=kernel, out_backprop=features, **options
        ), gradient

    return transposed(features, tf.convert_to_tensor(kernel))


def _forward(features, kernel, strides, padding):
    """Convolve 64 filters at a time where a float32 kernel does not fit into the cache of a core.

    For a single image, oneDNN reloads such a kernel again and again: 117 ms instead of 196 at 64x64
    pixels and 512 channels (one core of a Xeon). From two images on, its loop order is good. In
    bfloat16 and below 32x32 pixels, slices lose.
    """

    def whole():
        return tf.nn.conv2d(features, kernel, strides, padding)

    def in_slices():
        slices = tf.split(kernel, kernel.shape[-1] // _FILTERS_IN_SLICE, axis=-1)
        return tf.concat([tf.nn.conv2d(features, each, strides, padding) for each in slices], -1)

    batch, *sides = features.shape[:3]
    pixels = math.inf if None in sides else math.prod(sides) / strides**2
    can_slice = kernel.dtype == tf.float32 and kernel.shape[-1] % _FILTERS_IN_SLICE == 0
    if not can_slice or pixels < _LEAST_PIXELS_TO_SLICE:
        return whole()
    if batch is None:
        return tf.cond(tf.shape(features)[0] == 1, in_slices, whole)
    return in_slices() if batch == 1 else whole()


def _kernel_gradient(features, upstream, shape, strides, padding):
    """Gradient with respect to a kernel of a given shape."""
    size, _, inputs, filters = shape
    is_static = None not in (*features.shape, *upstream.shape)
    rows = math.prod(upstream.shape[:3]) if is_static else math.inf
    if max(inputs, filters) < _LEAST_CHANNELS or rows * size**2 * inputs > _MAX_MATRIX:
        return tf.raw_ops.Conv2DBackpropFilter(
            input=features,
            filter_sizes=shape,
            out_backprop=upstream,
            strides=[1, strides, strides, 1],
            padding=padding,
        )
    around = tf.concat(_seen_by_taps(features, upstream.shape[1:3], size, strides, padding), -1)
    around = tf.reshape(around, [rows, size**2 * inputs])
    product = tf.matmul(around, tf.reshape(upstream, [rows, filters]), transpose_a=True)
    return tf.reshape(product, shape)


def _seen_by_taps(features, sides, size, strides, padding):
    """List the pixels that each tap is multiplied by, each `[batch, *sides, inputs]`."""
    batch, *lengths, channels = features.shape
    margins, blocks = [], []
    for length, side in zip(lengths, sides, strict=True):
        missing = max(0, strides * (side - 1) + size - length) if padding == "SAME" else 0
        blocks.append(side + (size - 1) // strides)
        before = missing // 2
        margins.append([before, max(0, blocks[-1] * strides - before - length)])
    padded = tf.pad(features, [[0, 0], *margins, [0, 0]])
    height, width = (count * strides for count in blocks)
    # Slices with steps take several times as long as slices of blocks.
    padded = tf.reshape(
        padded[:, :height, :width], [batch, blocks[0], strides, blocks[1], strides, channels]
    )
    return [
        padded[
            :,
            row // strides : row // strides + sides[0],
            row % strides,
            column // strides : column // strides + sides[1],
            column % strides,
        ]
        for row in range(size)
        for column in range(size)
    ]

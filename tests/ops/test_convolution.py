import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from medusis_tf.ops import convolution as module
from medusis_tf.ops import wide_convolution
from medusis_tf.ops.convolution import (
    conv_then_halve,
    convolve,
    double_then_conv,
    fold_for_doubling,
    fold_for_halving,
    neighbours,
    pad_reflect,
)

# One matrix product (twice); wide kernels, the last one in slices; a plain one; a pointwise one.
CASES = [
    ((1, 4, 4, 5), (3, 3, 5, 6)),
    ((2, 3, 7, 5), (3, 3, 5, 6)),
    ((1, 9, 10, 512), (3, 3, 512, 128)),
    ((2, 9, 10, 512), (3, 3, 512, 128)),
    ((1, 33, 35, 128), (3, 3, 128, 512)),
    ((2, 9, 10, 8), (3, 3, 8, 128)),
    ((1, 4, 4, 5), (1, 1, 5, 6)),
]


def draw(shape, seed=0):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), tf.float32)


@pytest.fixture
def all_wide(monkeypatch):
    """Thresholds such that every kernel is wide."""
    monkeypatch.setattr(wide_convolution, "_LEAST_WEIGHTS", 0)
    monkeypatch.setattr(wide_convolution, "_LEAST_CHANNELS", 0)


@pytest.mark.parametrize("shape, kernel_shape", CASES)
@pytest.mark.parametrize("strides, padding", [(1, "same"), (2, "valid")])
def test_equals_plain_convolution_and_its_gradients(shape, kernel_shape, strides, padding):
    features, kernel = draw(shape), draw(kernel_shape, 1) / np.sqrt(np.prod(kernel_shape[:3]))

    def plain(features, kernel, strides, padding):
        return tf.nn.conv2d(features, kernel, strides, padding.upper())

    results = []
    for function in (convolve, plain):
        with tf.GradientTape() as outer:
            outer.watch([features, kernel])
            with tf.GradientTape() as inner:
                inner.watch(features)
                outputs = function(features, kernel, strides, padding)
                total = tf.reduce_sum(outputs**2) / 2
            first = inner.gradient(total, features)
            penalty = tf.reduce_sum(first**2)
        results.append((outputs, first, *outer.gradient(penalty, [features, kernel])))
    for ours, expected in zip(*results, strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(ours, expected, atol=1e-5 * scale)


@pytest.mark.usefixtures("all_wide")
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("limit", [0, 10**6])
def test_wide_convolution_equals_tensorflow_and_its_gradients(
    size, strides, padding, limit, monkeypatch
):
    monkeypatch.setattr(wide_convolution, "_MAX_MATRIX", limit)
    features, kernel = draw((2, 7, 10, 3)), draw((size, size, 3, 4), 1)
    results = []
    for function in (wide_convolution.convolve_wide, tf.nn.conv2d):
        with tf.GradientTape() as tape:
            tape.watch([features, kernel])
            outputs = function(features, kernel, strides, padding)
            total = tf.reduce_sum(outputs * draw(outputs.shape, 2))
        results.append((outputs, *tape.gradient(total, [features, kernel])))
    for ours, expected in zip(*results, strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-4)


@pytest.mark.usefixtures("all_wide")
@pytest.mark.parametrize("function", [convolve, conv_then_halve, double_then_conv])
def test_a_wide_kernel_may_be_a_variable_of_keras(function):
    features, kernel = draw((2, 12, 12, 3)), keras.Variable(draw((4, 4, 3, 3), 1))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(function(features, kernel) ** 2)
    with tf.GradientTape() as plain_tape:
        plain_tape.watch(value := tf.constant(kernel))
        plain_total = tf.reduce_sum(function(features, value) ** 2)
    expected = plain_tape.gradient(plain_total, value)
    np.testing.assert_allclose(tape.gradient(total, kernel.value), expected, rtol=1e-5)


def test_a_kernel_may_have_an_unknown_shape():
    signature = [tf.TensorSpec([None] * 4), tf.TensorSpec([4, 4, 3, None])]
    traced = tf.function(conv_then_halve, input_signature=signature)
    features, kernel = draw((2, 6, 8, 3)), draw((4, 4, 3, 5), 1)
    expected = tf.nn.conv2d(features, kernel, 2, "SAME")
    np.testing.assert_allclose(traced(features, kernel), expected, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2])
def test_batch_size_may_be_unknown(batch):
    kernel = draw((3, 3, 512, 128), 1) / 68
    signature = [tf.TensorSpec([None, None, None, 512], tf.float32)]
    traced = tf.function(lambda x: convolve(x, kernel), input_signature=signature)
    features = draw((batch, 5, 6, 512))
    expected = tf.nn.conv2d(features, kernel, 1, "SAME")
    np.testing.assert_allclose(traced(features), expected, atol=1e-5)


@pytest.mark.parametrize("shape, kernel_shape", CASES[:4])
def test_a_gpu_runs_one_convolution(shape, kernel_shape, monkeypatch):
    monkeypatch.setattr(module, "has_gpu", lambda: True)
    traced = tf.function(convolve).get_concrete_function(draw(shape), draw(kernel_shape, 1))
    types = [operation.type for operation in traced.graph.get_operations()]
    assert types.count("Conv2D") == 1 and "MatMul" not in types


@pytest.mark.parametrize("size", [1, 3, 4])
@pytest.mark.parametrize("strides", [1, 2])
def test_convolution_of_volumes_equals_scipy(size, strides):
    features, kernel = draw((2, 6, 5, 8, 3)), draw((size, size, size, 3, 4), 1)
    outputs = convolve(features, kernel, strides, "valid")
    inner = tuple(slice(size // 2, n - size + size // 2 + 1, strides) for n in (6, 5, 8))
    for volume, output in zip(features.numpy(), outputs.numpy(), strict=True):
        for filter_number in range(4):
            expected = sum(
                ndimage.correlate(volume[..., k], kernel[..., k, filter_number])[inner]
                for k in range(3)
            )
            np.testing.assert_allclose(output[..., filter_number], expected, atol=1e-4)


def test_convolution_of_volumes_of_the_same_size_has_zeros_outside():
    features, kernel = draw((1, 4, 5, 6, 1)), draw((3, 3, 3, 1, 1), 1)
    expected = ndimage.correlate(features[0, ..., 0], kernel[..., 0, 0], mode="constant")
    np.testing.assert_allclose(convolve(features, kernel)[0, ..., 0], expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(2, 3, 4, 2), (2, 3, 4, 2, 2)])
def test_reflected_margins_equal_those_of_numpy(shape):
    features = draw(shape)
    margins = [(0, 0), *[(2, 2)] * (len(shape) - 2), (0, 0)]
    np.testing.assert_array_equal(pad_reflect(features, 2), np.pad(features, margins, "symmetric"))


def plain(features, kernel):
    convolve_plainly = tf.nn.conv2d if len(features.shape) == 4 else tf.nn.conv3d
    return convolve_plainly(features, kernel, [1] * len(features.shape), "SAME")


def plain_halve(features, kernel):
    average = tf.nn.avg_pool2d if len(features.shape) == 4 else tf.nn.avg_pool3d
    return average(plain(features, kernel), 2, 2, "VALID")


def plain_double(features, kernel):
    for axis in range(1, len(features.shape) - 1):
        features = tf.repeat(features, 2, axis=axis)
    return plain(features, kernel)


FOLDED = {
    "halve": (lambda x, k: conv_then_halve(x, fold_for_halving(k)), plain_halve),
    "double": (lambda x, k: double_then_conv(x, fold_for_doubling(k)), plain_double),
}


@pytest.mark.parametrize("form", FOLDED)
@pytest.mark.parametrize("size", [(2, 2), (4, 6), (16, 10), (2, 2, 2), (4, 6, 2), (6, 4, 8)])
@pytest.mark.parametrize("is_wide", [False, True])
def test_folded_kernel_equals_the_two_steps_and_their_gradients(form, size, is_wide, request):
    if is_wide:
        request.getfixturevalue("all_wide")
    features, kernel = draw((2, *size, 3)), draw((*(3,) * len(size), 3, 5))
    results = []
    for function in FOLDED[form]:
        with tf.GradientTape() as tape:
            tape.watch([features, kernel])
            outputs = function(features, kernel)
            total = tf.reduce_sum(outputs * draw(outputs.shape))
        results.append((outputs, *tape.gradient(total, [features, kernel])))
    for ours, expected in zip(*results, strict=True):
        scale = max(20, np.abs(expected).max())
        np.testing.assert_allclose(ours, expected, atol=5e-6 * scale)


@pytest.mark.parametrize("size", [(6, 4), (6, 4, 2)])
@pytest.mark.parametrize("form", FOLDED)
def test_folded_kernel_accepts_an_unknown_size(form, size):
    folded, plain = FOLDED[form]
    kernel = draw((*(3,) * len(size), 3, 5))
    signature = [tf.TensorSpec([None, *(None for _ in size), 3], tf.float32)]
    traced = tf.function(lambda x: folded(x, kernel), input_signature=signature)
    features = draw((1, *size, 3))
    np.testing.assert_allclose(traced(features), plain(features, kernel), atol=1e-5)


@pytest.mark.parametrize("outside", [0, 7])
def test_neighbours_equal_those_of_scipy(outside):
    values = np.random.default_rng(0).integers(0, 9, (2, 4, 5))
    found = np.stack(neighbours(tf.constant(values), outside), axis=-1)
    for image, around in zip(values, found, strict=True):
        for place in range(9):
            weights = np.arange(9).reshape(3, 3) == place
            expected = ndimage.correlate(image, weights.astype(int), mode="constant", cval=outside)
            np.testing.assert_array_equal(around[..., place], expected)


def test_neighbours_of_channels_with_an_unknown_size():
    values = draw((1, 3, 4, 2))
    spec = tf.TensorSpec([None, None, None, 2])
    found = tf.function(neighbours, input_signature=[spec])(values)
    np.testing.assert_array_equal(found[4], values)
    np.testing.assert_array_equal(found[5][:, :, :-1], values[:, :, 1:])
    np.testing.assert_array_equal(found[5][:, :, -1], 0)

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from medusis_tf.ops.smoothing import blur, blur_down, smooth


def ones(height, width, dtype="float32"):
    return tf.ones([1, height, width, 1], dtype)


def test_zero_padding_darkens_the_border_of_blur_down():
    blurred = blur_down(ones(8, 8))[0, :, :, 0]
    assert blurred[1, 1] == 1.0
    assert blurred[0, 1] == 0.875
    assert blurred[0, 0] == 0.875**2


def test_blur_down_halves_a_rectangular_image():
    assert blur_down(ones(8, 12)).shape == (1, 4, 6, 1)


@pytest.mark.parametrize(("filter_image", "padding", "step"), [(blur, 2, 1), (blur_down, 1, 2)])
def test_a_volume_is_filtered_along_each_axis(filter_image, padding, step):
    volume = np.random.default_rng(0).standard_normal((2, 4, 6, 8, 3)).astype("float32")
    expected = volume
    for axis in (1, 2, 3):
        taps = np.array([1, 3, 3, 1]) / 8
        margins = [(padding * (axis == each),) * 2 for each in range(5)]
        expected = np.apply_along_axis(
            np.convolve, axis, np.pad(expected, margins), taps, mode="valid"
        )
    np.testing.assert_allclose(filter_image(volume), expected[:, ::step, ::step, ::step], atol=1e-6)


def test_blur_spreads_one_pixel_over_four():
    pixel = np.zeros((1, 5, 5, 1), dtype="float32")
    pixel[0, 2, 2, 0] = 64
    taps = np.array([0, 1, 3, 3, 1, 0])
    np.testing.assert_allclose(blur(pixel)[0, :, :, 0], np.outer(taps, taps), atol=1e-5)


def test_blur_equals_depthwise_convolution():
    image = np.random.default_rng(0).standard_normal((2, 6, 9, 3)).astype("float32")
    taps = np.array([1, 3, 3, 1], dtype="float32") / 8
    kernel = np.tile(np.outer(taps, taps)[:, :, None, None], [1, 1, 3, 1])
    padding = [[0, 0], [2, 2], [2, 2], [0, 0]]
    expected = tf.nn.depthwise_conv2d(image, kernel, [1, 1, 1, 1], padding)
    np.testing.assert_allclose(blur(image), expected, atol=1e-6)


@pytest.mark.parametrize("function, padding, stride", [(blur, 2, 1), (blur_down, 1, 2)])
def test_blur_of_volumes_equals_a_convolution(function, padding, stride):
    volumes = np.random.default_rng(0).standard_normal((2, 4, 6, 8, 1)).astype("float32")
    taps = np.array([1, 3, 3, 1], dtype="float32") / 8
    kernel = np.einsum("i,j,k->ijk", taps, taps, taps)[..., None, None]
    padded = np.pad(volumes, [(0, 0), *[(padding, padding)] * 3, (0, 0)])
    expected = tf.nn.conv3d(padded, kernel, [1, stride, stride, stride, 1], "VALID")
    repeated = function(np.repeat(volumes, 3, axis=-1))
    np.testing.assert_allclose(repeated, np.repeat(expected, 3, axis=-1), atol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (4, 8, 6)])
@pytest.mark.parametrize("filter_image", [blur, blur_down])
def test_second_order_gradient(filter_image, size):
    image = tf.random.stateless_normal([2, *size, 3], seed=[0, 0])
    with tf.GradientTape() as outer:
        outer.watch(image)
        with tf.GradientTape() as inner:
            inner.watch(image)
            cubes = tf.reduce_sum(filter_image(image) ** 3)
        squared_norm = tf.reduce_sum(inner.gradient(cubes, image) ** 2)
    assert np.any(outer.gradient(squared_norm, image))


def test_bfloat16_stays_bfloat16():
    assert blur(ones(4, 4, "bfloat16")).dtype == tf.bfloat16


@pytest.mark.parametrize("shape", [[None, None, None, 1], [None, None, 8, 8, 1]])
def test_unknown_size_is_rejected(shape):
    traced = tf.function(blur, [tf.TensorSpec(shape)])
    with pytest.raises(ValueError, match="height and width"):
        traced.get_concrete_function()


def test_smooth_equals_scipy_with_repeated_borders():
    images = np.random.default_rng(0).normal(size=(3, 7, 5, 2)).astype("float32")
    taps = np.array([1, 2, 1]) / 4
    expected = ndimage.correlate1d(images, taps, axis=1, mode="nearest")
    expected = ndimage.correlate1d(expected, taps, axis=2, mode="nearest")
    np.testing.assert_allclose(smooth(tf.constant(images)), expected, atol=1e-6)


def test_smooth_filters_volumes_along_each_axis():
    volumes = np.random.default_rng(0).normal(size=(3, 4, 7, 5, 2)).astype("float32")
    expected = volumes
    for axis in (1, 2, 3):
        expected = ndimage.correlate1d(expected, np.array([1, 2, 1]) / 4, axis, mode="nearest")
    np.testing.assert_allclose(smooth(tf.constant(volumes)), expected, atol=1e-6)


def test_smooth_leaves_a_constant_image_unchanged():
    np.testing.assert_allclose(smooth(tf.fill([1, 4, 6, 1], -0.7)), np.full((1, 4, 6, 1), -0.7))

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from medusis_tf.ops.haar import haar_analysis, haar_synthesis
from medusis_tf.ops.upsample import upsample_bands, upsample_linear, upsample_nearest


@pytest.fixture
def bands():
    return np.random.default_rng(0).standard_normal((2, 3, 4, 8)).astype("float32")


def test_nearest_repeats_each_pixel():
    image = np.array([[1.0, 2.0], [3.0, 4.0]], dtype="float32")[None, :, :, None]
    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    np.testing.assert_array_equal(upsample_nearest(image)[0, :, :, 0], expected)


def test_bands_equal_synthesis_bilinear_doubling_and_analysis(bands):
    image = haar_synthesis(bands)
    doubled = tf.image.resize(image, [12, 16], method="bilinear")
    np.testing.assert_allclose(upsample_bands(bands), haar_analysis(doubled), atol=1e-5)


def test_doubled_bands_of_a_constant_image_have_no_detail():
    constant = haar_analysis(np.ones((1, 4, 4, 1), dtype="float32"))
    expected = np.broadcast_to([2.0, 0, 0, 0], (1, 4, 4, 4))
    np.testing.assert_allclose(upsample_bands(constant), expected, atol=1e-6)


@pytest.mark.parametrize("upsample", [upsample_nearest, upsample_bands])
def test_unknown_batch_and_size(upsample, bands):
    traced = tf.function(upsample, [tf.TensorSpec([None, None, None, 8])])
    np.testing.assert_allclose(traced(bands), upsample(bands), atol=1e-6)


@pytest.mark.parametrize("upsample", [upsample_nearest, upsample_bands])
def test_bfloat16_stays_bfloat16(upsample, bands):
    assert upsample(tf.cast(bands, tf.bfloat16)).dtype == tf.bfloat16


@pytest.mark.parametrize("upsample", [upsample_linear, upsample_bands])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 5), (2, 3, 4, 2)])
def test_gradients_are_the_adjoint(upsample, shape):
    random = np.random.default_rng(0)
    features = tf.constant(random.standard_normal((2, *shape[:-1], 8)), tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(features)
        doubled = upsample(features)
    upstream = random.standard_normal(doubled.shape)
    gradient = tape.gradient(doubled, features, output_gradients=tf.constant(upstream))
    other = random.standard_normal(features.shape)
    expected = np.sum(upstream * upsample(tf.constant(other)))
    np.testing.assert_allclose(np.sum(gradient * other), expected)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8)])
def test_linear_doubling_equals_that_of_tensorflow(size):
    features = np.random.default_rng(0).standard_normal((2, *size, 3)).astype("float32")
    expected = tf.image.resize(features, [2 * size[0], 2 * size[1]], method="bilinear")
    np.testing.assert_allclose(upsample_linear(features), expected, atol=1e-6)


def linear_zoom(volumes):
    """Linear doubling by SciPy: half-pixel centres, edges repeated."""
    factors = (1, 2, 2, 2, 1)
    return ndimage.zoom(volumes, factors, order=1, mode="nearest", grid_mode=True)


@pytest.fixture
def volume_bands():
    return np.random.default_rng(0).standard_normal((2, 2, 3, 4, 16)).astype("float32")


def test_volumes_are_doubled_along_all_axes(volume_bands):
    expected = volume_bands.repeat(2, 1).repeat(2, 2).repeat(2, 3)
    np.testing.assert_array_equal(upsample_nearest(volume_bands), expected)
    linear = upsample_linear(volume_bands)
    np.testing.assert_allclose(linear, linear_zoom(volume_bands), atol=1e-6)


def test_bands_of_volumes_equal_synthesis_linear_doubling_and_analysis(volume_bands):
    doubled = linear_zoom(haar_synthesis(volume_bands).numpy())
    np.testing.assert_allclose(upsample_bands(volume_bands), haar_analysis(doubled), atol=1e-5)


@pytest.mark.parametrize("upsample", [upsample_nearest, upsample_linear, upsample_bands])
def test_unknown_batch_and_size_of_volumes(upsample, volume_bands):
    traced = tf.function(upsample, [tf.TensorSpec([None, None, None, None, 16])])
    np.testing.assert_allclose(traced(volume_bands), upsample(volume_bands), atol=1e-6)

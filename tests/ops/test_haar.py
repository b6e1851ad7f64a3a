import numpy as np
import pytest
import pywt
import tensorflow as tf

from medusis_tf.ops.haar import haar_analysis, haar_synthesis


@pytest.fixture
def image():
    return np.random.default_rng(0).standard_normal((2, 6, 10, 3)).astype("float32")


@pytest.fixture
def volume():
    return np.random.default_rng(0).standard_normal((2, 4, 6, 10, 3)).astype("float32")


def test_bands_of_one_cell():
    cell = np.array([[1.0, 2.0], [3.0, 5.0]], dtype="float32")[None, :, :, None]
    np.testing.assert_array_equal(haar_analysis(cell)[0, 0, 0], [5.5, -2.5, -1.5, 0.5])


def test_bands_equal_those_of_pywavelets(image):
    # PyWavelets names a band after the filter direction, this package after the visible detail.
    approximation, (vertical, horizontal, diagonal) = pywt.dwt2(image, "haar", axes=(1, 2))
    expected = np.concatenate([approximation, vertical, horizontal, diagonal], axis=-1)
    np.testing.assert_allclose(haar_analysis(image), expected, atol=1e-6)


def test_bands_of_a_volume_equal_those_of_pywavelets(volume):
    bands = pywt.dwtn(volume, "haar", axes=(1, 2, 3))
    order = ["aaa", "aad", "ada", "add", "daa", "dad", "dda", "ddd"]
    expected = np.concatenate([bands[name] for name in order], axis=-1)
    np.testing.assert_allclose(haar_analysis(volume), expected, atol=1e-6)


def test_constant_slices_have_the_bands_of_an_image(image):
    volume = np.repeat(image[:, np.newaxis], 2, axis=1)
    approximation, vertical, horizontal, diagonal = np.split(haar_analysis(image), 4, axis=-1)
    expected = [approximation, horizontal, vertical, diagonal, *4 * [0 * diagonal]]
    expected = np.sqrt(2) * np.concatenate(expected, axis=-1)
    np.testing.assert_allclose(haar_analysis(volume)[:, 0], expected, atol=1e-6)


def test_synthesis_of_a_volume_inverts_analysis(volume):
    np.testing.assert_allclose(haar_synthesis(haar_analysis(volume)), volume, atol=1e-6)


def test_analysis_inverts_synthesis_of_a_volume():
    bands = np.random.default_rng(1).standard_normal((2, 2, 3, 5, 16)).astype("float32")
    np.testing.assert_allclose(haar_analysis(haar_synthesis(bands)), bands, atol=1e-6)


def test_transform_preserves_the_energy_of_a_volume(volume):
    np.testing.assert_allclose(np.sum(haar_analysis(volume) ** 2), np.sum(volume**2), rtol=1e-5)


def test_volume_of_unknown_batch_and_size(volume):
    signature = [tf.TensorSpec([None, None, None, None, 3])]
    round_trip = tf.function(lambda x: haar_synthesis(haar_analysis(x)), signature)
    np.testing.assert_allclose(round_trip(volume), volume, atol=1e-6)


def test_bands_of_a_volume_have_a_static_shape():
    signature = [tf.TensorSpec([None, 4, 6, 8, 3])]
    analysed = tf.function(haar_analysis, signature).get_concrete_function()
    assert analysed.output_shapes == tf.TensorShape([None, 2, 3, 4, 24])


def test_synthesis_inverts_analysis(image):
    np.testing.assert_allclose(haar_synthesis(haar_analysis(image)), image, atol=1e-6)


def test_analysis_inverts_synthesis():
    bands = np.random.default_rng(1).standard_normal((2, 3, 5, 8)).astype("float32")
    np.testing.assert_allclose(haar_analysis(haar_synthesis(bands)), bands, atol=1e-6)


def test_transform_preserves_the_energy(image):
    np.testing.assert_allclose(np.sum(haar_analysis(image) ** 2), np.sum(image**2), rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 2, 4, 3), (1, 2, 2, 4, 3)])
def test_bfloat16_stays_bfloat16(shape):
    bands = haar_analysis(tf.ones(shape, tf.bfloat16))
    assert bands.dtype == haar_synthesis(bands).dtype == tf.bfloat16


def test_unknown_batch_and_size(image):
    signature = [tf.TensorSpec([None, None, None, 3])]
    round_trip = tf.function(lambda x: haar_synthesis(haar_analysis(x)), signature)
    np.testing.assert_allclose(round_trip(image), image, atol=1e-6)


@pytest.mark.parametrize("transform", [haar_analysis, haar_synthesis])
@pytest.mark.parametrize("shape", [(1, 4, 4, 4), (1, 2, 4, 4, 8)])
def test_second_order_gradient(transform, shape):
    image = tf.random.stateless_normal(shape, seed=[0, 0])
    with tf.GradientTape() as outer:
        outer.watch(image)
        with tf.GradientTape() as inner:
            inner.watch(image)
            energy = tf.reduce_sum(transform(image) ** 2) / 2
        gradient = inner.gradient(energy, image)
        squared_norm = tf.reduce_sum(gradient**2) / 2
    # Orthonormal: the energy is |image|^2 / 2, so both gradients are the image itself.
    np.testing.assert_allclose(gradient, image, atol=1e-6)
    np.testing.assert_allclose(outer.gradient(squared_norm, image), image, atol=1e-6)

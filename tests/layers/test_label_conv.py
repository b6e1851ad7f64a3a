import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.layers.label_conv import LabelConv
from tests.layer_checks import check_contract

SIZES = [(1, 1), (1, 7), (2, 2), (2, 5), (3, 3), (4, 3), (6, 8)]


def draw_inputs(height, width, noise_dim=5):
    generator = np.random.default_rng(0)
    one_hot = np.eye(4, dtype="float32")[generator.integers(4, size=(2, height, width))]
    return one_hot, generator.standard_normal((2, noise_dim)).astype("float32")


def draw_class_noise(noise_dim=5):
    return np.random.default_rng(2).standard_normal((2, 4, noise_dim)).astype("float32")


def plain_convolution(layer, one_hot, noise):
    """The definition of the layer: noise at each pixel, concatenated before the labels."""
    noise_map = np.broadcast_to(noise[:, None, None], (*one_hot.shape[:3], noise.shape[-1]))
    return convolve_map(layer, one_hot, noise_map)


def plain_class_noise_convolution(layer, one_hot, noise):
    """The definition with the noise of its class at each pixel."""
    ids = one_hot.argmax(axis=-1)
    noise_map = np.stack([rows[image_ids] for rows, image_ids in zip(noise, ids, strict=True)])
    return convolve_map(layer, one_hot, noise_map)


def convolve_map(layer, one_hot, noise_map):
    conditioning = tf.concat([noise_map, one_hot], axis=-1)
    return tf.nn.conv2d(conditioning, layer.kernel.value, 1, "SAME") + layer.bias.value


def test_contract(tmp_path):
    def make(**kwargs):
        return LabelConv(6, noise_dim=5, **kwargs)

    check_contract(make, *draw_inputs(4, 6), output_shape=(2, 4, 6, 6), tmp_path=tmp_path)


def test_contract_with_class_noise(tmp_path):
    one_hot, _ = draw_inputs(4, 6)
    check_contract(
        lambda **kwargs: LabelConv(6, noise_dim=5, **kwargs),
        one_hot,
        draw_class_noise(),
        output_shape=(2, 4, 6, 6),
        tmp_path=tmp_path,
    )


def test_contract_without_noise(tmp_path):
    one_hot, _ = draw_inputs(4, 6)
    check_contract(
        lambda **kwargs: LabelConv(6, **kwargs),
        one_hot,
        output_shape=(2, 4, 6, 6),
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize("size", SIZES)
def test_equals_the_convolution_of_repeated_noise(size):
    one_hot, noise = draw_inputs(*size)
    layer = LabelConv(6, noise_dim=5)
    outputs = layer(one_hot, noise)
    layer.bias.assign(np.arange(6))
    outputs = layer(one_hot, noise)
    np.testing.assert_allclose(outputs, plain_convolution(layer, one_hot, noise), atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_unknown_batch_and_size(size):
    one_hot, noise = draw_inputs(*size)
    layer = LabelConv(6, noise_dim=5)
    expected = layer(one_hot, noise)
    signature = [tf.TensorSpec([None, None, None, 4]), tf.TensorSpec([None, 5])]
    traced = tf.function(lambda labels, noise: layer(labels, noise), signature)
    np.testing.assert_allclose(traced(one_hot, noise), expected, atol=1e-6)


def test_gradients_equal_those_of_the_plain_convolution():
    one_hot, noise = draw_inputs(5, 6)
    noise = tf.constant(noise)
    layer = LabelConv(6, noise_dim=5)
    layer(one_hot, noise)
    with tf.GradientTape(persistent=True) as tape:
        ours = tf.reduce_sum(layer(one_hot, noise) ** 3)
        plain = tf.reduce_sum(plain_convolution(layer, one_hot, noise) ** 3)
    weights = [layer.kernel.value, layer.bias.value]
    for gradient, expected in zip(
        tape.gradient(ours, weights), tape.gradient(plain, weights), strict=True
    ):
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("size", SIZES)
def test_class_noise_equals_the_convolution_of_the_noise_of_each_pixel(size):
    one_hot, _ = draw_inputs(*size)
    layer = LabelConv(6, noise_dim=5)
    layer(one_hot, draw_class_noise())
    layer.bias.assign(np.arange(6))
    outputs = layer(one_hot, draw_class_noise())
    expected = plain_class_noise_convolution(layer, one_hot, draw_class_noise())
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_class_noise_with_equal_rows_equals_image_noise(size):
    one_hot, noise = draw_inputs(*size)
    layer = LabelConv(6, noise_dim=5)
    expected = layer(one_hot, noise)
    outputs = layer(one_hot, np.repeat(noise[:, None], 4, axis=1))
    np.testing.assert_allclose(outputs, expected, atol=1e-6)


def test_the_noise_of_a_class_affects_only_its_pixels_and_their_neighbours():
    label_map = np.zeros((2, 8, 9), int)
    label_map[0, 2, 3] = label_map[0, 7, 8] = 3
    one_hot = np.eye(4, dtype="float32")[label_map]
    layer = LabelConv(6, noise_dim=5)
    noise = draw_class_noise()
    before = layer(one_hot, noise)
    noise[:, 3] += 1
    changed = np.any(layer(one_hot, noise) != before, axis=-1)
    expected = np.zeros((2, 8, 9), bool)
    expected[0, 1:4, 2:5] = expected[0, 6:, 7:] = True
    np.testing.assert_array_equal(changed, expected)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (6, 8)])
def test_class_noise_with_unknown_batch_and_size(size):
    one_hot, _ = draw_inputs(*size)
    layer = LabelConv(6, noise_dim=5)
    expected = layer(one_hot, draw_class_noise())
    signature = [tf.TensorSpec([None, None, None, 4]), tf.TensorSpec([None, 4, 5])]
    traced = tf.function(lambda labels, noise: layer(labels, noise), signature)
    np.testing.assert_allclose(traced(one_hot, draw_class_noise()), expected, atol=1e-6)
    assert traced(one_hot[:0], draw_class_noise()[:0]).shape == (0, *size, 6)


def test_gradients_with_class_noise_equal_those_of_the_plain_convolution():
    one_hot, _ = draw_inputs(5, 6)
    layer = LabelConv(6, noise_dim=5)
    noise = tf.constant(draw_class_noise())
    layer(one_hot, noise)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(noise)
        ours = tf.reduce_sum(layer(one_hot, noise) ** 3)
        noise_map = tf.einsum("bhwk,bkz->bhwz", one_hot, noise)
        plain = tf.reduce_sum(convolve_map(layer, one_hot, noise_map) ** 3)
    sources = [layer.kernel.value, layer.bias.value, noise]
    for gradient, expected in zip(
        tape.gradient(ours, sources), tape.gradient(plain, sources), strict=True
    ):
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-6)

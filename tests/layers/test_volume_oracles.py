"""Spectral norm, label convolution, SPADE and random fields of volumes against definitions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.layers.label_conv import LabelConv
from medusis_tf.layers.pixel_noise import PixelNoise, unit_fields
from medusis_tf.layers.spade import SPADE
from medusis_tf.layers.spectral_conv import SpectralConv

SIZES = [(1, 1, 1), (1, 2, 5), (2, 3, 4), (4, 5, 6)]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def draw_labels(sides):
    ids = np.random.default_rng(1).integers(4, size=(2, *sides))
    return ids, np.eye(4, dtype="float32")[ids]


def noise_of_each_voxel(kind, ids):
    """Noise in the form of the layers, and at each voxel."""
    if kind == "image":
        noise = draw(2, 5, seed=2)
        return noise, np.broadcast_to(noise[:, None, None, None], (*ids.shape, 5))
    noise = draw(2, 4, 5, seed=2)
    return noise, np.stack([rows[each] for rows, each in zip(noise, ids, strict=True)])


def convolve(inputs, conv, padding="zeros"):
    if padding == "zeros":
        return tf.nn.conv3d(inputs, conv.kernel.value, [1] * 5, "SAME") + conv.bias.value
    padded = np.pad(inputs, [(0, 0), *[(1, 1)] * 3, (0, 0)], "symmetric")
    return tf.nn.conv3d(padded, conv.kernel.value, [1] * 5, "VALID") + conv.bias.value


def test_sigma_is_the_largest_singular_value_of_the_kernel():
    layer = SpectralConv(6, use_bias=False, rank=3)
    volume = draw(1, 3, 4, 5, 2)
    layer(volume)
    layer.kernel.assign(draw(3, 3, 3, 2, 6))
    for _ in range(60):
        layer(volume[:, :1, :1, :1], training=True)
    expected = np.linalg.svd(draw(3, 3, 3, 2, 6).reshape(-1, 6), compute_uv=False)[0]
    np.testing.assert_allclose(layer.sigma(), expected, rtol=1e-4)
    plain = tf.nn.conv3d(volume, draw(3, 3, 3, 2, 6) / expected, [1] * 5, "SAME")
    np.testing.assert_allclose(layer(volume), plain, atol=1e-4)


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
@pytest.mark.parametrize("kind", ["image", "class"])
@pytest.mark.parametrize("sides", SIZES)
def test_labels_equal_the_convolution_of_noise_and_labels(sides, kind, padding):
    ids, one_hot = draw_labels(sides)
    noise, noise_map = noise_of_each_voxel(kind, ids)
    layer = LabelConv(6, 5, padding, rank=3)
    layer.build(one_hot.shape, noise.shape)
    layer.bias.assign(np.arange(6))
    expected = convolve(np.concatenate([noise_map, one_hot], axis=-1), layer, padding)
    np.testing.assert_allclose(layer(one_hot, noise), expected, atol=1e-5)
    spec = [tf.TensorSpec([None] * 4 + [4]), tf.TensorSpec([None, *noise.shape[1:]])]
    traced = tf.function(lambda labels, noise: layer(labels, noise), spec)
    np.testing.assert_allclose(traced(one_hot, noise), expected, atol=1e-5)


@pytest.mark.parametrize("kind", ["image", "class"])
def test_spade_equals_batch_normalisation_and_plain_convolutions(kind):
    ids, one_hot = draw_labels((3, 4, 5))
    noise, noise_map = noise_of_each_voxel(kind, ids)
    noise, features = tf.constant(noise), tf.constant(2 * draw(2, 3, 4, 5, 6) + 1)
    layer = SPADE(7, 5, rank=3)
    layer.build(features.shape, one_hot.shape, noise.shape)
    for weight in layer.trainable_weights:
        weight.assign(draw(*weight.shape, seed=5) / 5)
    normalization = keras.layers.BatchNormalization(
        momentum=0.9, epsilon=1e-5, center=False, scale=False
    )

    def plain(training):
        conditioning = tf.concat([noise_map, one_hot], axis=-1)
        hidden = tf.nn.relu(convolve(conditioning, layer.shared))
        gamma, beta = convolve(hidden, layer.to_gamma), convolve(hidden, layer.to_beta)
        return normalization(features, training=training) * (1 + gamma) + beta

    def ours(training):
        return layer(features, one_hot, noise, training=training)

    results = []
    for function in (ours, plain):
        weights = [weight.value for weight in layer.trainable_weights]
        with tf.GradientTape() as tape:
            tape.watch(features)
            outputs = function(training=True)
            total = tf.reduce_sum(outputs * draw(*outputs.shape, seed=4))
        gradients = tape.gradient(total, [features, *weights])
        results.append([outputs, *gradients, function(training=False)])
    for own, expected in zip(*results, strict=True):
        np.testing.assert_allclose(own, expected, atol=2e-5 * (1 + np.abs(expected).max()))


def test_fields_of_volumes_are_white_along_all_axes():
    noise = draw(3, 8)
    fields = unit_fields(noise, 24, 20, 1, depth=16).numpy()
    assert fields.shape == (3, 16, 24, 20, 1)
    np.testing.assert_allclose(fields.std(axis=(1, 2, 3, 4)), 1, rtol=0.03)
    np.testing.assert_array_equal(unit_fields(noise[1:2], 24, 20, 1, depth=16)[0], fields[1])
    for axis in (1, 2, 3):
        neighbour = np.roll(fields, 1, axis)
        assert abs(np.corrcoef(fields.ravel(), neighbour.ravel())[0, 1]) < 0.03


def test_pixel_noise_adds_the_field_by_its_scale_and_the_size_of_the_noise():
    layer, noise, features = PixelNoise(1), draw(3, 8), tf.zeros([3, 4, 6, 8, 2])
    np.testing.assert_array_equal(layer(features, noise), features)
    layer.scale.assign([1, 2])
    strength = np.sqrt(np.mean(np.square(noise), axis=1))[:, None, None, None, None]
    expected = unit_fields(noise, 6, 8, 1, depth=4) * strength * np.array([1, 2])
    np.testing.assert_allclose(layer(features, noise), expected, rtol=1e-5)

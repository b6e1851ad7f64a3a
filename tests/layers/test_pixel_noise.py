"""Random fields of the generators."""

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.layers.pixel_noise import PixelNoise, unit_fields
from medusis_tf.models.generators.oasis import OASISGenerator
from medusis_tf.models.generators.wavelet import WaveletGenerator

NOISE = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)


def test_fields_are_white_noise_that_depends_on_noise_and_index_alone():
    fields = unit_fields(NOISE, 64, 48, 1).numpy()
    assert fields.shape == (3, 64, 48, 1)
    assert abs(fields.mean()) < 0.03
    np.testing.assert_allclose(fields.std(axis=(1, 2, 3)), 1, rtol=0.03)
    np.testing.assert_array_equal(unit_fields(NOISE[1:2], 64, 48, 1)[0], fields[1])
    for other in (fields[0], unit_fields(NOISE, 64, 48, 2).numpy()[1]):
        assert abs(np.corrcoef(fields[1].ravel(), other.ravel())[0, 1]) < 0.1


def test_noise_of_zeros_adds_nothing():
    layer, features = PixelNoise(1), tf.zeros([2, 8, 8, 4])
    layer(features, NOISE[:2])
    layer.scale.assign(tf.ones([4]))
    added = layer(features, np.stack([NOISE[0], np.zeros(8, np.float32)])).numpy()
    assert np.any(added[0]) and not np.any(added[1])


def test_the_layer_changes_nothing_at_first_and_then_by_its_scale_and_the_size_of_the_noise():
    layer, features = PixelNoise(1), tf.zeros([3, 16, 16, 4])
    np.testing.assert_array_equal(layer(features, NOISE), features)
    layer.scale.assign([0, 1, 2, 3])
    strength = np.sqrt(np.mean(np.square(NOISE), axis=1))[:, None, None, None]
    expected = unit_fields(NOISE, 16, 16, 1) * strength * np.arange(4)
    np.testing.assert_allclose(layer(features, NOISE), expected, rtol=1e-5)


@pytest.mark.parametrize("network", [OASISGenerator, WaveletGenerator])
def test_pixel_noise_breaks_the_symmetry_of_a_uniform_label_map(network):
    generator = network(
        2, base_channels=4, noise_dim=8, num_blocks=3, pixel_noise=True, padding="reflect"
    )
    one_hot = tf.one_hot(tf.ones([3, 32, 32], tf.int32), 2)
    flat = generator(one_hot, NOISE).numpy()[:, 12:20, 12:20]
    for field in generator.pixel_noises:
        field.scale.assign(tf.ones_like(field.scale))
    rough = generator(one_hot, NOISE).numpy()[:, 12:20, 12:20]
    assert np.ptp(rough[0]) > 10 * np.ptp(flat[0])
    still = generator(one_hot[:1], tf.zeros([1, 8])).numpy()[:, 12:20, 12:20]
    assert np.ptp(still) < 0.1 * np.ptp(rough[0])


def test_pixel_noise_needs_noise():
    with pytest.raises(ValueError, match="pixel_noise needs noise"):
        OASISGenerator(2, noise_dim=0, pixel_noise=True)

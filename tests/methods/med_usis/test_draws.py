import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.methods.med_usis.draws import jitter, translate
from medusis_tf.methods.med_usis.sections import JitterConfig
from medusis_tf.ops.smoothing import smooth

SEED = tf.constant([3, 5], tf.int64)
NONE = {"contrast": 0, "gamma": 0, "blur": 0, "noise": 0}


def images(count=64):
    values = np.random.default_rng(0).uniform(-1, 1, (count, 8, 8, 1))
    return tf.constant(values, tf.float32)


def jittered(batch, **settings):
    config = JitterConfig.model_validate({**NONE, **settings})
    return jitter(batch, SEED, tf.range(len(batch)), len(batch), config).numpy()


def test_jitter_without_settings_changes_nothing():
    np.testing.assert_array_equal(jittered(images()), images())


def test_contrast_is_one_factor_per_image_within_its_limits():
    factors = jittered(images(), contrast=0.3) / images().numpy()
    spread = factors.max(axis=(1, 2, 3)) - factors.min(axis=(1, 2, 3))
    assert spread.max() < 1e-4
    assert 0.7 <= factors.min() < 0.75
    assert 1.25 < factors.max() <= 1.3


def test_gamma_preserves_black_white_and_the_order_of_pixels():
    ramp = tf.repeat(tf.reshape(tf.linspace(-1.0, 1.0, 32), [1, 4, 8, 1]), 16, axis=0)
    changed = jittered(ramp, gamma=0.5).reshape(16, 32)
    assert np.all(np.diff(changed, axis=1) > 0)
    np.testing.assert_allclose(changed[:, -1], 1, atol=1e-5)
    np.testing.assert_allclose(changed[:, 0], -1, atol=0.05)


def test_blur_smooths_the_configured_fraction_of_images():
    changed = jittered(images(400), blur=0.25)
    is_smooth = np.all(changed == smooth(images(400)), axis=(1, 2, 3))
    is_same = np.all(changed == images(400), axis=(1, 2, 3))
    assert np.all(is_smooth ^ is_same)
    assert np.mean(is_smooth) == pytest.approx(0.25, abs=0.08)


def test_noise_has_the_configured_deviation_and_differs_between_images():
    noise = jittered(images(), noise=0.12) - images().numpy()
    assert np.std(noise) == pytest.approx(0.12, rel=0.05)
    assert np.any(noise[0] != noise[1])


def test_the_jitter_of_an_image_does_not_depend_on_its_replica():
    config = JitterConfig()
    together = jitter(images(8), SEED, tf.range(8), 8, config)
    odd = jitter(images(8)[1::2], SEED, tf.range(1, 8, 2), 8, config)
    np.testing.assert_allclose(odd, together[1::2], atol=1e-6)


def test_air_has_a_gradient():
    air = tf.fill([2, 4, 4, 1], -1.0)
    with tf.GradientTape() as tape:
        tape.watch(air)
        total = tf.reduce_sum(jitter(air, SEED, tf.range(2), 2, JitterConfig()))
    gradient = tape.gradient(total, air).numpy()
    assert np.all(np.isfinite(gradient) & (gradient > 0.1))


@pytest.mark.parametrize("offset", [(0, 0), (1, 0), (0, -2), (3, 2), (-1, 1), (9, 0)])
def test_translate_shifts_each_pixel_and_fills_the_border(offset):
    images = np.random.default_rng(0).normal(size=[1, 6, 7, 2]).astype(np.float32)
    expected = np.full_like(images, -1.0)
    for row in range(6):
        for column in range(7):
            source = (row - offset[0], column - offset[1])
            if 0 <= source[0] < 6 and 0 <= source[1] < 7:
                expected[0, row, column] = images[0, source[0], source[1]]
    np.testing.assert_array_equal(translate(images, tf.constant([offset])), expected)


def test_each_image_has_its_own_offset_and_a_gradient():
    images = tf.random.stateless_normal([2, 4, 4, 1], [0, 0])
    with tf.GradientTape() as tape:
        tape.watch(images)
        shifted = translate(images, tf.constant([[0, 0], [1, 0]]))
    gradient = tape.gradient(shifted, images).numpy()
    assert gradient[0].sum() == 16
    assert gradient[1].sum() == 12  # the last row is outside the image
    assert gradient[1, -1].sum() == 0

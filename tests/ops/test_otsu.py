import numpy as np
import pytest
import tensorflow as tf
from skimage.filters import threshold_otsu

from medusis_tf.ops.otsu import otsu_threshold


def images():
    random = np.random.default_rng(3)
    bimodal = np.where(random.random((16, 24)) < 0.3, -0.9, 0.2) + random.normal(0, 0.1, (16, 24))
    return np.stack(
        [bimodal, random.uniform(-1, 1, (16, 24)), random.gamma(1.0, 0.2, (16, 24)) - 1]
    ).astype("float32")


@pytest.mark.parametrize("jit_compile", [False, True])
def test_otsu_separates_pixels_like_scikit_image(jit_compile):
    batch = images()
    found = tf.function(otsu_threshold, jit_compile=jit_compile)(tf.constant(batch)).numpy()
    for image, level in zip(batch, found, strict=True):
        expected = threshold_otsu(image, nbins=256)
        assert np.mean((image > level) != (image > expected)) < 0.01


def test_a_volume_has_the_threshold_of_all_its_voxels():
    batch = tf.constant(images())
    np.testing.assert_array_equal(
        otsu_threshold(tf.reshape(batch, [3, 4, 4, 24])), otsu_threshold(batch)
    )


def test_the_threshold_of_two_levels_is_their_midpoint():
    two = np.where(np.arange(64).reshape(1, 8, 8) < 20, -1.0, 0.5)
    assert float(otsu_threshold(tf.constant(two, tf.float32))[0]) == pytest.approx(-0.25, abs=0.01)


def test_the_threshold_of_a_constant_image_is_its_value():
    found = otsu_threshold(tf.fill([2, 4, 4], -0.25))
    np.testing.assert_allclose(found, [-0.25, -0.25])


def test_the_threshold_has_no_gradient():
    pixels = tf.constant(images())
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        total = tf.reduce_sum(otsu_threshold(pixels)) + 0.0 * tf.reduce_sum(pixels)
    assert not np.any(tape.gradient(total, pixels))

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.losses.diversity import diversity_loss


def test_loss_is_the_inverse_of_the_image_difference_per_noise_difference():
    image, noise = tf.zeros([2, 4, 4, 1]), tf.zeros([2, 3])
    value = diversity_loss(image, image + 0.1, noise, noise - 0.5)
    assert float(value) == pytest.approx(1 / (0.05 + 0.2), rel=1e-5)


def test_almost_equal_images_have_the_largest_loss_and_a_gradient():
    image = tf.constant(np.random.default_rng(0).normal(size=(2, 4, 4, 1)), tf.float32)
    other = tf.Variable(image + 1e-3)
    with tf.GradientTape() as tape:
        value = diversity_loss(image, other, tf.zeros([2, 3]), tf.ones([2, 3]))
    assert 19 < float(value) < 20
    assert np.all(tape.gradient(value, other) != 0)

import math

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.losses.adversarial import (
    discriminator_real_loss,
    discriminator_synthetic_loss,
    generator_adversarial_loss,
    r1_penalty,
)

ALL = [generator_adversarial_loss, discriminator_real_loss, discriminator_synthetic_loss]


@pytest.mark.parametrize("loss", ALL)
def test_an_undecided_discriminator_costs_log_2(loss):
    assert loss(tf.zeros([4])).numpy() == pytest.approx(math.log(2))


@pytest.mark.parametrize("loss, sign", list(zip(ALL, [-1, -1, 1], strict=True)))
def test_a_far_logit_costs_itself_or_nothing(loss, sign):
    assert loss(tf.constant([sign * 1000.0])).numpy() == 1000
    assert loss(tf.constant([-sign * 1000.0])).numpy() == 0


def test_r1_of_a_linear_discriminator_is_its_squared_norm():
    weights = tf.reshape(tf.range(1.0, 5.0), [2, 2, 1])
    images = tf.random.stateless_normal([3, 2, 2, 1], seed=[0, 0])
    penalty = r1_penalty(lambda images: tf.reduce_sum(images * weights, axis=[1, 2, 3]), images)
    assert penalty.numpy() == 1 + 4 + 9 + 16


def test_r1_is_a_mean_over_images():
    images = tf.reshape(tf.constant([1.0, 3.0]), [2, 1, 1, 1])
    penalty = r1_penalty(lambda images: tf.reduce_sum(images**2, axis=[1, 2, 3]) / 2, images)
    assert penalty.numpy() == (1 + 9) / 2


def test_r1_can_be_minimised():
    weight = tf.Variable(3.0)
    with tf.GradientTape() as tape:
        penalty = r1_penalty(
            lambda images: weight * tf.reduce_sum(images, axis=[1, 2, 3]), np.ones((2, 2, 2, 1))
        )
    # The penalty is 4 w^2.
    assert tape.gradient(penalty, weight).numpy() == 8 * 3

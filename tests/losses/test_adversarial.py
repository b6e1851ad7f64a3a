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
from tests.reference.reference_arrays import cases, reference_arrays

ALL = [generator_adversarial_loss, discriminator_real_loss, discriminator_synthetic_loss]
NAMES = ["generator", "real", "synthetic"]
REFERENCE = reference_arrays("adversarial_losses")


@pytest.mark.parametrize("loss", ALL)
def test_logits_of_zero_cost_log_2(loss):
    assert loss(tf.zeros([4])).numpy() == pytest.approx(math.log(2))


@pytest.mark.parametrize("loss, sign", list(zip(ALL, [-1, -1, 1], strict=True)))
def test_a_large_logit_costs_itself_or_nothing(loss, sign):
    assert loss(tf.constant([sign * 1000.0])).numpy() == 1000
    assert loss(tf.constant([-sign * 1000.0])).numpy() == 0


def test_r1_of_a_linear_discriminator_is_its_squared_norm():
    weights = tf.reshape(tf.range(1.0, 5.0), [2, 2, 1])
    images = tf.random.stateless_normal([3, 2, 2, 1], seed=[0, 0])
    penalty = r1_penalty(lambda images: tf.reduce_sum(images * weights, axis=[1, 2, 3]), images)
    assert penalty.numpy() == 1 + 4 + 9 + 16


def test_r1_is_averaged_over_images():
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


@pytest.mark.parametrize("name, loss", list(zip(NAMES, ALL, strict=True)))
@pytest.mark.parametrize("case", cases(REFERENCE, "logits"))
def test_losses_and_their_gradients_equal_those_of_tensorflow_gan(case, name, loss):
    logits = tf.constant(REFERENCE[f"{case}/logits"])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(logits)
    np.testing.assert_allclose(value, REFERENCE[f"{case}/{name}"], rtol=1e-6)
    gradient = tape.gradient(value, logits)
    np.testing.assert_allclose(gradient, REFERENCE[f"{case}/{name}_gradient"], atol=1e-8)


@pytest.mark.parametrize("case", cases(REFERENCE, "logits"))
def test_the_sum_of_both_losses_equals_that_of_tensorflow_gan(case):
    logits = REFERENCE[f"{case}/logits"]
    total = discriminator_real_loss(logits) + discriminator_synthetic_loss(logits[::-1])
    np.testing.assert_allclose(total, REFERENCE[f"{case}/discriminator"], rtol=1e-6)


@pytest.mark.parametrize("case", cases(REFERENCE, "logits"))
def test_labels_are_not_smoothed_unlike_in_tensorflow_gan(case):
    # Its default target is a probability of 0.875, not 1, which costs an eighth of each logit.
    logits = REFERENCE[f"{case}/logits"]
    smoothed = discriminator_real_loss(logits).numpy() + logits.mean() / 8
    np.testing.assert_allclose(smoothed, REFERENCE[f"{case}/default_real"], rtol=1e-5)


def small_discriminator(images):
    hidden = tf.tanh(tf.reshape(images, [-1, 48]) @ REFERENCE["penalty/hidden"])
    return tf.squeeze(hidden @ REFERENCE["penalty/output"], axis=1)


def test_r1_equals_a_combination_of_two_penalties_of_tensorflow_gan():
    penalty = r1_penalty(small_discriminator, REFERENCE["penalty/images"])
    # For a gradient norm s, they are (s - 1)^2 and (s + 1)^2.
    both = REFERENCE["penalty/target_one"] + REFERENCE["penalty/target_minus_one"]
    np.testing.assert_allclose(penalty, both / 2 - 1, rtol=1e-5)


def test_r1_of_a_small_discriminator_equals_a_manual_computation():
    images, hidden, output = (
        REFERENCE[f"penalty/{name}"].astype(float) for name in ("images", "hidden", "output")
    )
    slopes = output[:, 0] * (1 - np.tanh(images.reshape(5, 48) @ hidden) ** 2)
    expected = np.mean(np.sum((slopes @ hidden.T) ** 2, axis=1))
    penalty = r1_penalty(small_discriminator, REFERENCE["penalty/images"])
    np.testing.assert_allclose(penalty, expected, rtol=1e-5)


def test_r1_of_patches_uses_their_mean():
    kernel = tf.constant(np.random.default_rng(0).normal(size=(4, 4, 1, 1)), tf.float32)

    def patches(images):
        return tf.nn.conv2d(images, kernel, 4, "VALID")[..., 0]

    images = tf.constant(np.random.default_rng(1).normal(size=(3, 16, 16, 1)), tf.float32)
    # Each pixel belongs to one of 16 patches.
    expected = 16 * np.sum(np.square(kernel)) / 16**2
    assert float(r1_penalty(patches, images)) == pytest.approx(expected, rel=1e-5)

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.interop.pytorch import load_pytorch_weights
from medusis_tf.losses.adversarial import (
    discriminator_real_loss,
    discriminator_synthetic_loss,
    r1_penalty,
)
from medusis_tf.models.discriminators.wavelet import WaveletDiscriminator
from tests.parity.gradient_norms import assert_gradient_norms_match


@pytest.fixture(scope="module")
def case(parity_case):
    return parity_case("wavelet_discriminator")


@pytest.fixture(scope="module")
def discriminator(case):
    network = WaveletDiscriminator((256, 256), image_channels=3)
    network.build((None, 256, 256, 3))
    load_pytorch_weights(network, case.state_dict())
    return network


@pytest.fixture(scope="module")
def images(case):
    return tf.constant(case.images((4, 3, 256, 256)))


def test_logits_and_adversarial_losses(case, discriminator, images):
    @tf.function
    def classify(images):
        with tf.GradientTape() as tape:
            logits = discriminator(images)
            loss = discriminator_synthetic_loss(logits)
        return logits, loss, tape.gradient(loss, discriminator.trainable_variables)

    logits, loss, gradients = classify(images)
    np.testing.assert_allclose(logits, case.recorded["logits"], atol=1e-4)
    assert loss.numpy() == pytest.approx(case.recorded["softplus_fake"], rel=1e-5)
    real_loss = discriminator_real_loss(logits).numpy()
    assert real_loss == pytest.approx(case.recorded["softplus_real"], rel=1e-5)
    recorded = case.recorded["gradient_norms_softplus_fake"]
    assert_gradient_norms_match(discriminator, gradients, recorded)


def test_r1_penalty(case, discriminator, images):
    @tf.function
    def penalize(images):
        with tf.GradientTape() as tape:
            penalty = r1_penalty(discriminator, images)
        return penalty, tape.gradient(penalty, discriminator.trainable_variables)

    penalty, gradients = penalize(images)
    assert penalty.numpy() == pytest.approx(case.recorded["r1"], rel=1e-5)
    assert_gradient_norms_match(discriminator, gradients, case.recorded["gradient_norms_r1"])

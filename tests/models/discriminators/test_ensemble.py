"""Several discriminators as one."""

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.losses.adversarial import (
    discriminator_real_loss,
    discriminator_synthetic_loss,
    generator_adversarial_loss,
    logits_and_r1_penalty,
    r1_penalty,
)
from medusis_tf.methods.experiment import load_config, save_config
from medusis_tf.models.discriminator_sections import EnsembleDiscriminatorConfig
from tests.training.tiny_experiment import tiny_experiment

MEMBERS = [
    {"base_channels": 4, "max_channels": 8},
    {"name": "patch", "base_channels": 4, "max_channels": 8, "num_strided": 2},
]


@pytest.fixture(scope="module")
def config():
    section = EnsembleDiscriminatorConfig(name="ensemble", members=MEMBERS)
    return tiny_experiment().model_copy(update={"discriminator": section})


@pytest.fixture(scope="module")
def ensemble(config):
    return config.discriminator.build((32, 32), 1)


@pytest.fixture(scope="module")
def images():
    return tf.random.stateless_uniform([2, 32, 32, 1], [0, 1], -1, 1)


def test_it_classifies_with_all_members(ensemble, images):
    whole, patches = ensemble(images)
    assert whole.shape == (2,) and patches.shape == (2, 8, 8)
    features = ensemble.features(images)
    expected = [f for member in ensemble.members for f in member.features(images)]
    assert len(features) == len(expected)
    for one, other in zip(features, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(ensemble.trainable_weights) == sum(
        len(member.trainable_weights) for member in ensemble.members
    )


@pytest.mark.parametrize(
    "loss", [generator_adversarial_loss, discriminator_real_loss, discriminator_synthetic_loss]
)
def test_losses_are_means_over_the_members(loss, ensemble, images):
    each = [loss(member(images)).numpy() for member in ensemble.members]
    assert loss(ensemble(images)).numpy() == pytest.approx(np.mean(each), rel=1e-6)


def test_the_r1_penalty_is_the_mean_over_the_members(ensemble, images):
    each = [r1_penalty(member, images).numpy() for member in ensemble.members]
    logits, penalty = logits_and_r1_penalty(ensemble, images)
    assert penalty.numpy() == pytest.approx(np.mean(each), rel=1e-5)
    assert len(logits) == 2


def test_its_configuration_is_saved_and_read(config, tmp_path):
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml").discriminator == config.discriminator
    with pytest.raises(ValueError, match="at least 2 items"):
        EnsembleDiscriminatorConfig(name="ensemble", members=MEMBERS[:1])
    with pytest.raises(ValueError, match="short side that is a power of two"):
        config.discriminator.check_image_size((96, 96))

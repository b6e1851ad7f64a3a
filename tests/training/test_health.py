"""Health of a GAN: values of situations with a known answer, and one warning for each failure."""

import logging
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.layers.spectral_conv import SpectralConv
from medusis_tf.losses.adversarial import share_of_real
from medusis_tf.training.health import Health, HealthWarnings, noise_sensitivity, sigmas
from tests.training.phantom_data import phantom_data
from tests.training.tiny_experiment import tiny_experiment


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    config = tiny_experiment(data=phantom_data(tmp_path_factory))
    return config, prepare_shards(config)


class Painter:
    """Paints a constant plus the noise times a factor; the first column saturates."""

    noise_shape = (1,)

    def __init__(self, factor):
        self._factor = factor

    def __call__(self, one_hot, noise, training):
        assert not training
        ramp = tf.linspace(-0.9, 0.9, one_hot.shape[1])[:, tf.newaxis]
        image = tf.ones_like(one_hot[..., 0]) * ramp + self._factor * noise[:, :, tf.newaxis]
        return image[..., tf.newaxis]


def method(factor=0.0, critic=None):
    return SimpleNamespace(painter=Painter(factor), critic=critic, network_optimizers={})


def test_a_painter_without_the_noise_has_no_sensitivity(experiment):
    health = Health(*experiment, False)
    found = health.measure(method(0.0))
    assert found == {
        "health/saturated_bright": 0,
        "health/saturated_dark": 0,
        "health/noise_sensitivity": 0,
    }
    assert health.measure(method(0.5))["health/noise_sensitivity"] > 0.1
    beyond = health.measure(method(100.0))
    assert beyond["health/saturated_bright"] + beyond["health/saturated_dark"] > 0.9


def test_a_discriminator_that_knows_the_training_images_is_seen(experiment):
    config, shards = experiment
    health = Health(config, shards, False)
    train = [e for e in shards.records.subjects if e.split == "train" and "image" in e.streams]
    known = {image.tobytes() for entry in train for image in shards.read_image(entry)}

    def critic(images):
        return tf.constant([1.0 if i[..., 0].tobytes() in known else -1.0 for i in images.numpy()])

    found = health.measure(method(critic=critic))
    assert found["accuracy/training_images"] == 1
    assert found["accuracy/validation_images"] == 0
    assert 0 < health.num_images <= 32


def test_the_noise_sensitivity_of_independent_pixels_is_the_root_of_two():
    first, second = np.random.default_rng(0).normal(size=(2, 100_000))
    assert noise_sensitivity(first, second) == pytest.approx(np.sqrt(2), rel=0.01)
    assert noise_sensitivity(first, first) == 0
    assert np.isnan(noise_sensitivity(np.ones(3), np.ones(3)))


def test_sigma_is_the_largest_singular_value():
    layer = SpectralConv(5)
    layer.build((None, 8, 8, 3))
    for _ in range(30):
        layer(tf.zeros([1, 8, 8, 3]), training=True)
    network = keras.Sequential([layer])
    largest = np.linalg.svd(layer.kernel.numpy().reshape(-1, 5), compute_uv=False)[0]
    assert sigmas(network) == pytest.approx([largest], rel=1e-2)


def test_the_share_of_real_is_the_mean_over_members_and_patches():
    logits = (tf.constant([1.0, -1.0]), tf.constant([[[1.0, 2.0]], [[3.0, -1.0]]]))
    assert float(share_of_real(logits)) == pytest.approx((0.5 + 0.75) / 2)


def warned(caplog, see, values, times, images=64):
    caplog.clear()
    warnings = HealthWarnings(images)
    with caplog.at_level(logging.WARNING, logger="medusis_tf"):
        for step in range(times):
            getattr(warnings, see)(step, values)
    return caplog.text


WON = {"accuracy/real": 0.999, "accuracy/synthetic": 1.0}
MEMORISED = {"accuracy/training_images": 0.95, "accuracy/validation_images": 0.5}


def test_a_discriminator_that_has_won_is_said_once(caplog):
    assert warned(caplog, "see_steps", WON, 9) == ""
    assert warned(caplog, "see_steps", WON, 30).count("the discriminator has won") == 1
    assert warned(caplog, "see_steps", {**WON, "accuracy/synthetic": 0.8}, 30) == ""
    assert warned(caplog, "see_steps", {}, 30) == ""


def test_a_discriminator_that_memorises_is_said_once(caplog):
    text = warned(caplog, "see_validation", MEMORISED, 5)
    assert text.count("takes 95% of them for real, but only 50% of the real validation") == 1
    assert warned(caplog, "see_validation", MEMORISED, 1) == ""
    assert warned(caplog, "see_validation", MEMORISED, 5, images=8) == ""
    near = {**MEMORISED, "accuracy/validation_images": 0.8}
    assert warned(caplog, "see_validation", near, 5) == ""


def test_a_generator_that_ignores_its_noise_is_said_once(caplog):
    text = warned(caplog, "see_validation", {"health/noise_sensitivity": 0.001}, 5)
    assert text.count("the generator ignores its noise") == 1
    assert warned(caplog, "see_validation", {"health/noise_sensitivity": 0.1}, 5) == ""

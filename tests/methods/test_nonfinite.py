"""A step that is not finite changes nothing but the step counter; finite steps stay as they are."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.methods.distribution import mirrored
from medusis_tf.methods.med_usis.med_usis import MedUSIS
from medusis_tf.methods.nonfinite import SKIPPED, LossScale
from medusis_tf.optimizers import MIN_SIZE, Adam
from tests.training.tiny_experiment import tiny_batch, tiny_experiment


def state(method):
    """All weights, states and moments as bytes, by place; without the counters of steps."""
    networks = [weight for network in method.networks.values() for weight in network.weights]
    moments = [v for each in method.network_optimizers.values() for v in each.variables[1:]]
    values = [tf.convert_to_tensor(each.value).numpy() for each in [*networks, *moments]]
    return [value.tobytes() for value in values]


def broken(batch, key="image", value=np.nan):
    image = batch[key].numpy()
    image[0, 3, 4] = value
    return {**batch, key: tf.constant(image)}


@pytest.fixture
def eagerly():
    """Two replicas take minutes to compile."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def check_that_bad_batches_change_nothing(**changes):
    config = tiny_experiment(**changes)
    method = MedUSIS(config)
    good = tiny_batch(config, 0)
    losses = method.take_step(good, 1)
    assert float(losses[SKIPPED]) == 0
    for name in ("generator", "segmenter", "discriminator"):
        assert 0 < float(losses[f"gradient_norm/{name}"]) < 1e6
    before = state(method)
    for step, value in enumerate((np.nan, 1e30), start=2):
        assert float(method.take_step(broken(good, value=value), step)[SKIPPED]) == 1
        assert state(method) == before
        assert int(method.step) == step
    assert float(method.take_step(good, 4)[SKIPPED]) == 0
    assert state(method) != before


def test_a_bad_batch_changes_nothing_but_the_step():
    check_that_bad_batches_change_nothing()


def test_networks_that_are_updated_in_turn_get_their_weights_back(eagerly):
    training = {"schedule": "alternating", "r1": {"mode": "as_step", "interval": 1}}
    check_that_bad_batches_change_nothing(training=training)


def test_it_is_skipped_on_every_replica(eagerly):
    config = tiny_experiment()
    strategy = mirrored(["CPU:0", "CPU:1"], on_gpu=False)
    with strategy.scope():
        method = MedUSIS(config, strategy.num_replicas_in_sync)
    before = state(method)
    # Sample 0 belongs to the first replica.
    assert float(method.take_step(broken(tiny_batch(config, 0)), 1)[SKIPPED]) == 1
    assert state(method) == before
    for variable in method.generator.weights:
        first, second = (each.numpy() for each in variable.value.values)
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("beta_1", [0.0, 0.5])
@pytest.mark.parametrize("size", [MIN_SIZE, 5])
def test_adam_moves_nothing_if_it_is_not_allowed(size, beta_1):
    rng = np.random.default_rng(0)
    weight, other = (keras.Variable(rng.normal(size=size)) for _ in range(2))
    other.assign(weight)
    gated, plain = Adam(0.1, beta_1), Adam(0.1, beta_1)
    gated.build([weight])
    plain.build([other])
    gradient = tf.constant(rng.normal(size=size), tf.float32)

    @tf.function(autograph=False)
    def apply(gradient, is_allowed):
        with gated.only_if(is_allowed):
            gated.apply([gradient], [weight])

    apply(gradient, tf.constant(True))
    plain.apply([gradient], [other])
    np.testing.assert_allclose(weight.numpy(), other.numpy(), rtol=1e-6)
    before = [each.numpy().tobytes() for each in [weight, *gated.variables[1:]]]
    apply(gradient * np.nan, tf.constant(False))
    assert [each.numpy().tobytes() for each in [weight, *gated.variables[1:]]] == before
    assert int(gated.iterations) == 2


def test_the_loss_scale_falls_at_once_and_grows_slowly():
    scale = LossScale()
    scale.update(tf.constant(False))
    assert float(scale.scale) == 2.0**14
    for _ in range(1999):
        scale.update(tf.constant(True))
    assert float(scale.scale) == 2.0**14
    scale.update(tf.constant(True))
    assert float(scale.scale) == 2.0**15
    for _ in range(40):
        scale.update(tf.constant(False))
    assert float(scale.scale) == 1


def test_float16_skips_a_step_that_overflows_and_learns_at_a_lower_scale(eagerly):
    config = tiny_experiment(training={"precision": "mixed_float16"})
    method = MedUSIS(config)
    before = state(method)
    method.loss_scale.scale.assign(2.0**24)
    assert float(method.take_step(tiny_batch(config, 0), 1)[SKIPPED]) == 1
    assert state(method) == before
    assert float(method.loss_scale.scale) == 2.0**23
    method.loss_scale.scale.assign(16.0)
    assert float(method.take_step(tiny_batch(config, 0), 2)[SKIPPED]) == 0
    assert state(method) != before
    assert float(method.loss_scale.scale) == 16

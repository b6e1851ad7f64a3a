import keras
import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.methods.distribution import mirrored
from medusis_tf.optimizers import ema_decay, update_average


@pytest.mark.parametrize(("step", "expected"), [(0, 0.1), (90, 0.91), (10**6, 0.99)])
def test_warm_up_shortens_the_memory_of_early_steps(step, expected):
    assert float(ema_decay(tf.constant(step), 0.99, warm_up=True)) == pytest.approx(expected)
    assert float(ema_decay(tf.constant(step), 0.99, warm_up=False)) == pytest.approx(0.99)


def test_weights_are_averaged_and_state_is_copied():
    def network():
        return keras.Sequential([keras.Input([3]), keras.layers.BatchNormalization()])

    average, other = network(), network()
    average.set_weights([np.zeros(3), np.zeros(3), np.zeros(3), np.ones(3)])
    other.set_weights([np.full(3, 10.0), np.full(3, 10.0), np.full(3, 5.0), np.full(3, 7.0)])
    update_average(average, other, tf.constant(0.9))
    gamma, beta, mean, variance = average.get_weights()
    np.testing.assert_allclose([gamma, beta], 1.0, rtol=1e-6)
    np.testing.assert_array_equal(mean, 5.0)
    np.testing.assert_array_equal(variance, 7.0)


def test_large_weights_of_every_replica_are_averaged():
    strategy = mirrored(["CPU:0", "CPU:1"], on_gpu=False)
    with strategy.scope():
        average, other = (
            keras.Sequential([keras.Input([257]), keras.layers.Dense(256)]) for _ in "ab"
        )
    average.set_weights([np.zeros([257, 256]), np.zeros(256)])
    other.set_weights([np.full([257, 256], 10.0), np.full(256, 5.0)])
    tf.function(lambda: update_average(average, other, tf.constant(0.9)), autograph=False)()
    for weight, expected in zip(average.trainable_weights, (1.0, 0.5), strict=True):
        for copy in strategy.experimental_local_results(weight.value):
            np.testing.assert_allclose(copy.numpy(), expected, rtol=1e-6)

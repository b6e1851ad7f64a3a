import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.layers.spade import SPADE
from medusis_tf.methods.distribution import mirrored
from tests.layer_checks import check_contract


@pytest.fixture
def inputs():
    generator = np.random.default_rng(0)
    features = generator.standard_normal((4, 4, 6, 8)).astype("float32")
    one_hot = np.eye(3, dtype="float32")[generator.integers(3, size=(4, 4, 6))]
    return 3 * features + 1, one_hot, generator.standard_normal((4, 5)).astype("float32")


def test_contract(inputs, tmp_path):
    def make(**kwargs):
        return SPADE(7, noise_dim=5, **kwargs)

    check_contract(make, *inputs, output_shape=(4, 4, 6, 8), tmp_path=tmp_path)


def test_starts_as_plain_batch_normalisation(inputs):
    outputs = SPADE(7, noise_dim=5)(*inputs, training=True)
    np.testing.assert_allclose(np.mean(outputs, axis=(0, 1, 2)), np.zeros(8), atol=1e-3)
    np.testing.assert_allclose(np.std(outputs, axis=(0, 1, 2)), np.ones(8), atol=1e-3)


def test_offset_depends_on_the_class(inputs):
    features, _, noise = inputs
    left_right = np.zeros((4, 4, 6, 3), dtype="float32")
    left_right[:, :, :3, 1] = left_right[:, :, 3:, 2] = 1
    layer = SPADE(7, noise_dim=5)
    layer(features, left_right, noise)
    layer.shared.kernel.assign(tf.zeros_like(layer.shared.kernel.value))
    layer.shared.kernel.assign(layer.shared.kernel.numpy() + class_kernel(layer, class_id=2))
    layer.to_beta.kernel.assign(tf.ones_like(layer.to_beta.kernel.value))
    layer.to_gamma.kernel.assign(tf.zeros_like(layer.to_gamma.kernel.value))
    offset = layer(0 * features, left_right, noise)
    assert np.all(offset[:, :, 0] == offset[:, :, 1])
    assert np.all(offset[:, 1:3, 4] > offset[:, 1:3, 1])


def class_kernel(layer, class_id):
    kernel = np.zeros(layer.shared.kernel.shape, dtype="float32")
    kernel[1, 1, layer.noise_dim + class_id] = 1
    return kernel


def test_training_remembers_the_statistics(inputs):
    layer = SPADE(7, noise_dim=5)
    layer(*inputs, training=True)
    expected = 0.1 * np.mean(inputs[0], axis=(0, 1, 2))
    np.testing.assert_allclose(layer.normalization.moving_mean, expected, atol=1e-5)


def test_two_synchronized_replicas_normalise_as_one_batch(inputs):
    alone = SPADE(7, noise_dim=5)
    alone(*inputs)
    weights = alone.get_weights()
    expected = alone(*inputs, training=True)

    strategy = mirrored(["CPU:0", "CPU:1"], on_gpu=False)
    with strategy.scope():
        replicated = SPADE(7, noise_dim=5, synchronized=True)
        replicated(*inputs)
    replicated.set_weights(weights)

    @tf.function
    def normalise(*halves):
        return strategy.run(lambda *half: replicated(*half, training=True), halves)

    def halves(array):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(np.split(array, 2)[context.replica_id_in_sync_group])
        )

    outputs = strategy.experimental_local_results(normalise(*map(halves, inputs)))
    np.testing.assert_allclose(tf.concat(outputs, axis=0), expected, atol=1e-4)
    np.testing.assert_allclose(
        replicated.normalization.moving_mean, alone.normalization.moving_mean, atol=1e-6
    )

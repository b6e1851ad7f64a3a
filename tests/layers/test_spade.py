import keras
import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.layers.neighbourhoods import label_neighbourhoods
from medusis_tf.layers.spade import SPADE, BatchStatistics
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


def test_training_updates_the_moving_statistics(inputs):
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


def test_synchronized_statistics_have_the_gradient_of_one_batch():
    draw = np.random.default_rng(0)
    features = draw.normal(3, 2, (4, 5, 6, 3)).astype("float32")
    weights = draw.standard_normal(features.shape).astype("float32")

    def gradient(layer, features, weights):
        with tf.GradientTape() as tape:
            tape.watch(features)
            mean, reciprocal = layer(features, training=True)
            total = tf.reduce_sum(weights * (features - mean) * reciprocal**2)
        return tape.gradient(total, features)

    expected = gradient(alone := BatchStatistics(), tf.constant(features), weights)
    strategy = mirrored(["CPU:0", "CPU:1"], on_gpu=False)
    with strategy.scope():
        layer = BatchStatistics(synchronized=True)
        layer.build(features.shape)

    def half(array):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(np.split(array, 2)[context.replica_id_in_sync_group])
        )

    @tf.function(autograph=False)
    def gradients(*halves):
        return strategy.run(lambda *own: gradient(layer, *own), halves)

    found = strategy.experimental_local_results(gradients(half(features), half(weights)))
    np.testing.assert_allclose(tf.concat(found, axis=0), expected, atol=1e-6)
    for own, other in zip(layer.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-6)


@pytest.mark.parametrize("training, waiting", [(False, 2), (True, 0)])
def test_scale_and_offset_are_distributed_in_order_only_to_paint(training, waiting):
    """Otherwise those of all layers are held in memory at once."""
    layer = SPADE(8)
    one_hot = tf.one_hot(two_regions(), NUM_CLASSES)
    features = tf.ones([*one_hot.shape[:3], 3])

    @tf.function(autograph=False)
    def normalise(features, one_hot):
        found = label_neighbourhoods(one_hot)
        return layer(features, one_hot, training=training, neighbourhoods=found)

    layer(features, one_hot)
    operations = normalise.get_concrete_function(features, one_hot).graph.get_operations()
    gathers = [each for each in operations if each.type == "GatherV2"]
    # TensorFlow lets the number of the axis wait, an input of the gather.
    waits = [any(value.op.control_inputs for value in each.inputs) for each in gathers]
    assert sum(waits) == waiting


@pytest.mark.parametrize("replicas", [1, 2])
def test_synchronized_statistics_have_the_second_gradient_of_one_batch(replicas):
    features = tf.constant(np.random.default_rng(0).normal(1, 2, (4, 3, 2)), tf.float32)

    def second(layer, features):
        """Gradient of the squared gradient; the first sums over the batch of all replicas."""
        with tf.GradientTape() as outer:
            outer.watch(features)
            with tf.GradientTape() as inner:
                inner.watch(features)
                mean, reciprocal = layer(features, training=True)
                total = tf.reduce_sum(mean**3 + reciprocal**3)
            penalty = tf.reduce_sum(inner.gradient(total, features) ** 2)
        return outer.gradient(penalty, features)

    expected = second(BatchStatistics(), features)
    if replicas == 1:
        np.testing.assert_allclose(
            second(BatchStatistics(synchronized=True), features), expected, rtol=1e-4
        )
        return
    strategy = mirrored(["CPU:0", "CPU:1"], on_gpu=False)
    with strategy.scope():
        layer = BatchStatistics(synchronized=True)
        layer.build(features.shape)
    own = strategy.experimental_distribute_values_from_function(
        lambda context: features[2 * context.replica_id_in_sync_group :][:2]
    )
    found = tf.function(lambda own: strategy.run(lambda x: second(layer, x), (own,)))(own)
    found = tf.concat(strategy.experimental_local_results(found), axis=0)
    # Each replica has its own total, of equal value, so that the first gradient is twice as large,
    # and half of the images, each with both penalties.
    np.testing.assert_allclose(found, 4 * expected, rtol=1e-3)


NUM_CLASSES = 4


def two_regions():
    """Label maps with uniform and mixed 5x5 neighbourhoods."""
    label_map = np.zeros((2, 12, 15), int)
    label_map[0, 2:10, 3:14] = 1
    label_map[0, 4, 6] = 2
    label_map[1, :, 7:] = 3
    return label_map


def random_labels(height, width):
    return np.random.default_rng(1).integers(NUM_CLASSES, size=(2, height, width))


MAPS = [two_regions(), random_labels(6, 7), random_labels(1, 1), np.full((2, 5, 5), 3)]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def plain_spade(layer, features, labels, noise_map):
    """The definition of SPADE, at each pixel."""
    conditioning = labels if noise_map is None else tf.concat([noise_map, labels], axis=-1)

    def convolve(inputs, conv):
        return tf.nn.conv2d(inputs, conv.kernel.value, 1, "SAME") + conv.bias.value

    hidden = tf.nn.relu(convolve(conditioning, layer.shared))
    mean, variance = tf.nn.moments(features, [0, 1, 2])
    normalized = (features - mean) / tf.sqrt(variance + 1e-5)
    return normalized * (1 + convolve(hidden, layer.to_gamma)) + convolve(hidden, layer.to_beta)


def draw_noise(kind, label_map):
    """Noise in the form of the layer, and at each pixel."""
    if kind == "none":
        return None, None
    if kind == "image":
        noise = draw(2, 5, seed=3)
        return noise, np.broadcast_to(noise[:, None, None], (*label_map.shape, 5))
    noise = draw(2, NUM_CLASSES, 5, seed=3)
    return noise, np.stack([rows[ids] for rows, ids in zip(noise, label_map, strict=True)])


@pytest.mark.parametrize("kind", ["none", "image", "class"])
@pytest.mark.parametrize("label_map", MAPS, ids=lambda m: "x".join(map(str, m.shape)))
def test_equals_the_definition_and_its_gradients(label_map, kind):
    labels, (noise, noise_map) = (
        tf.constant(np.eye(NUM_CLASSES, dtype="float32")[label_map]),
        draw_noise(kind, label_map),
    )
    features = tf.constant(2 * draw(*label_map.shape, 6) + 1)
    layer = SPADE(7, noise_dim=0 if noise is None else 5)
    layer.build(features.shape, labels.shape, None if noise is None else noise.shape)
    for weight in layer.trainable_weights:
        weight.assign(draw(*weight.shape, seed=5) / 3)

    def sparse():
        found = label_neighbourhoods(labels)
        return layer(features, labels, noise, training=True, neighbourhoods=found)

    def dense():
        return layer(features, labels, noise, training=True)

    def plain():
        return plain_spade(layer, features, labels, noise_map)

    results = []
    for function in (sparse, dense, plain):
        weights = [weight.value for weight in layer.trainable_weights]
        with tf.GradientTape() as tape:
            tape.watch(features)
            outputs = function()
            total = tf.reduce_sum(outputs * draw(*outputs.shape, seed=4))
        results.append([outputs, *tape.gradient(total, [features, *weights])])
    *fast, definition = results
    for ours in fast:
        for own, expected in zip(ours, definition, strict=True):
            scale = 1 + np.abs(expected).max()
            np.testing.assert_allclose(own, expected, atol=2e-5 * scale)


@pytest.mark.parametrize("training", [True, False])
def test_statistics_normalise_like_keras(inputs, training):
    features, *_ = inputs
    ours = BatchStatistics()
    theirs = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, center=False, scale=False)
    for _ in range(3):
        mean, reciprocal = ours(features, training=True)
        expected = theirs(features, training=True)
    if not training:
        mean, reciprocal = ours(features)
        expected = theirs(features)
    np.testing.assert_allclose((features - mean) * reciprocal, expected, atol=1e-5)
    for own, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-7)


def test_statistics_are_float32_under_mixed_precision(inputs):
    layer = BatchStatistics(dtype="mixed_bfloat16")
    mean, reciprocal = layer(inputs[0], training=True)
    assert mean.dtype == reciprocal.dtype == layer.moving_mean.value.dtype == "float32"


def test_config_of_the_statistics_round_trips():
    layer = BatchStatistics(synchronized=True, momentum=0.5, epsilon=1e-3)
    assert BatchStatistics.from_config(layer.get_config()).get_config() == layer.get_config()


@pytest.mark.parametrize("noise_shape", [None, (2, 3), (2, 4, 3)])
def test_reflected_labels_equal_a_larger_label_map(noise_shape):
    """Sparse, dense, and a zero-padded layer on a label map with a mirrored margin agree."""
    draw = np.random.default_rng(0)
    one_hot = np.eye(4, dtype="float32")[draw.integers(4, size=(2, 6, 7))]
    noise = None if noise_shape is None else draw.standard_normal(noise_shape).astype("float32")
    features = draw.standard_normal((2, 6, 7, 5)).astype("float32")
    noise_dim = 0 if noise is None else 3
    layer, plain = SPADE(8, noise_dim, padding="reflect"), SPADE(8, noise_dim)
    dense = layer(features, one_hot, noise)
    neighbourhoods = label_neighbourhoods(tf.constant(one_hot), "reflect")
    sparse = layer(features, one_hot, noise, neighbourhoods=neighbourhoods)
    np.testing.assert_allclose(sparse, dense, atol=1e-5)
    margins = [[0, 0], [2, 2], [2, 2], [0, 0]]
    wide = np.pad(one_hot, margins, mode="symmetric")
    plain.build((None, None, None, 5), wide.shape, noise_shape)
    plain.set_weights(layer.get_weights())
    expected = plain(np.pad(features, margins, mode="symmetric"), wide, noise)[:, 2:-2, 2:-2]
    # At the border itself, the mirrored labels and the mirrored hidden features differ.
    np.testing.assert_allclose(dense[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=2e-3)


def test_with_reflected_labels_a_uniform_label_map_is_modulated_alike_everywhere():
    layer = SPADE(8, 3, padding="reflect")
    one_hot = np.eye(4, dtype="float32")[np.full((1, 6, 7), 2)]
    noise = np.ones((1, 3), np.float32)
    for neighbourhoods in (None, label_neighbourhoods(tf.constant(one_hot), "reflect")):
        image = layer(tf.ones([1, 6, 7, 5]), one_hot, noise, neighbourhoods=neighbourhoods).numpy()
        assert np.ptp(image, axis=(1, 2)).max() < 1e-6


@pytest.mark.parametrize(
    "label_map", [np.zeros((2, 6, 8), int), two_regions()], ids=["none", "some"]
)
def test_second_gradients_are_those_of_each_pixel_also_without_borders(label_map):
    """TensorFlow's gradient of a sum over no pixels is memory that was never written."""
    one_hot = tf.one_hot(label_map, NUM_CLASSES)
    features = tf.constant(draw(*label_map.shape, 3))
    layer = SPADE(4, padding="reflect")
    layer.build(features.shape, one_hot.shape)

    def second(neighbourhoods):
        with tf.GradientTape() as outer:
            outer.watch(features)
            with tf.GradientTape() as inner:
                inner.watch(features)
                outputs = layer(features, one_hot, training=True, neighbourhoods=neighbourhoods)
                total = tf.reduce_sum(outputs**3)
            sources = [features, *(weight.value for weight in layer.trainable_weights)]
            penalty = sum(tf.reduce_sum(each**2) for each in inner.gradient(total, sources))
        return outer.gradient(penalty, features)

    expected = second(None)
    for _ in range(3):
        found = second(label_neighbourhoods(one_hot, "reflect"))
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, atol=1e-4 * scale)

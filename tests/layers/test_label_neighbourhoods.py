import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.layers.generator_blocks import SPADEBlock, WaveletBlock
from medusis_tf.layers.label_conv import label_neighbourhoods
from medusis_tf.layers.spade import SPADE

NUM_CLASSES = 4


def regions(height=12, width=15):
    """Two label maps with organs wide enough to have an inside."""
    label_map = np.zeros((2, height, width), int)
    label_map[0, 2:10, 3:14] = 1
    label_map[0, 4, 6] = 2
    label_map[1, :, width // 2 :] = 3
    return label_map


def speckle(height, width):
    return np.random.default_rng(1).integers(NUM_CLASSES, size=(2, height, width))


MAPS = [regions(), speckle(6, 7), speckle(1, 1), speckle(2, 5), np.full((2, 5, 5), 3)]


def one_hot(label_map):
    return np.eye(NUM_CLASSES, dtype="float32")[label_map]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def test_only_borders_and_the_frame_have_rows_of_their_own():
    label_map = regions()
    found = label_neighbourhoods(tf.constant(one_hot(label_map)))
    inside = found.rows.numpy() < 2 * NUM_CLASSES
    padded = np.pad(label_map, ((0, 0), (2, 2), (2, 2)), constant_values=-1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(1, 2))
    expected = (windows == label_map[..., None, None]).all(axis=(-1, -2))
    np.testing.assert_array_equal(inside, expected)
    assert found.taps.shape == (np.sum(~expected), 9)
    uniform = np.arange(2)[:, None, None] * NUM_CLASSES + label_map
    np.testing.assert_array_equal(found.rows.numpy()[expected], uniform[expected])


def test_a_pattern_of_an_image_is_found_once():
    label_map = np.concatenate([regions(), regions()[:1]])
    found = label_neighbourhoods(tf.constant(one_hot(label_map)))
    padded = np.pad(label_map, ((0, 0), (1, 1), (1, 1)), constant_values=NUM_CLASSES)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    windows = windows.reshape(*label_map.shape, 9)
    mixed = (windows != label_map[..., None]).any(axis=-1)
    expected = {(int(i), *map(int, windows[i, y, x])) for i, y, x in np.argwhere(mixed)}
    rows = np.concatenate([found.images.numpy()[:, None], found.classes.numpy()], axis=1)
    assert len(rows) == len(expected)
    assert set(map(tuple, rows.tolist())) == expected


def modulate_plainly(layer, features, labels, noise_map):
    """SPADE as it is written down, at every pixel."""
    conditioning = labels if noise_map is None else tf.concat([noise_map, labels], axis=-1)

    def convolve(inputs, conv):
        return tf.nn.conv2d(inputs, conv.kernel.value, 1, "SAME") + conv.bias.value

    hidden = tf.nn.relu(convolve(conditioning, layer.shared))
    mean, variance = tf.nn.moments(features, [0, 1, 2])
    normalized = (features - mean) / tf.sqrt(variance + 1e-5)
    return normalized * (1 + convolve(hidden, layer.to_gamma)) + convolve(hidden, layer.to_beta)


def draw_noise(kind, label_map):
    """Noise as a layer takes it, and on every pixel."""
    if kind == "none":
        return None, None
    if kind == "image":
        noise = draw(2, 5, seed=3)
        return noise, np.broadcast_to(noise[:, None, None], (*label_map.shape, 5))
    noise = draw(2, NUM_CLASSES, 5, seed=3)
    return noise, np.stack([rows[ids] for rows, ids in zip(noise, label_map, strict=True)])


@pytest.mark.parametrize("kind", ["none", "image", "class"])
@pytest.mark.parametrize("label_map", MAPS, ids=lambda m: "x".join(map(str, m.shape)))
def test_spade_equals_the_plain_formula_and_its_gradients(label_map, kind):
    labels, (noise, noise_map) = tf.constant(one_hot(label_map)), draw_noise(kind, label_map)
    features = tf.constant(2 * draw(*label_map.shape, 6) + 1)
    layer = SPADE(7, noise_dim=0 if noise is None else 5)
    layer.build(features.shape, labels.shape, None if noise is None else noise.shape)
    for weight in layer.trainable_weights:
        weight.assign(draw(*weight.shape, seed=5) / 3)

    def sparsely():
        found = label_neighbourhoods(labels)
        return layer(features, labels, noise, training=True, neighbourhoods=found)

    def densely():
        return layer(features, labels, noise, training=True)

    def plainly():
        return modulate_plainly(layer, features, labels, noise_map)

    results = []
    for function in (sparsely, densely, plainly):
        weights = [weight.value for weight in layer.trainable_weights]
        with tf.GradientTape() as tape:
            tape.watch(features)
            outputs = function()
            total = tf.reduce_sum(outputs * draw(*outputs.shape, seed=4))
        results.append([outputs, *tape.gradient(total, [features, *weights])])
    *fast, plain = results
    for ours in fast:
        for own, expected in zip(ours, plain, strict=True):
            scale = 1 + np.abs(expected).max()
            np.testing.assert_allclose(own, expected, atol=2e-5 * scale)


@pytest.mark.parametrize("block_class, factor", [(SPADEBlock, 1), (WaveletBlock, 2)])
def test_blocks_are_the_same_sparse_and_dense(block_class, factor):
    labels, noise = one_hot(speckle(4 * factor, 6 * factor)), draw(2, 5)
    features = draw(2, 4, 6, 12, seed=6)
    blocks = [block_class(8, spade_channels=6, noise_dim=5, sparse=s) for s in (True, False)]
    outputs = [tf.nest.flatten(block(features, labels, noise)) for block in blocks]
    blocks[1].set_weights(blocks[0].get_weights())
    outputs[1] = tf.nest.flatten(blocks[1](features, labels, noise))
    for sparse, dense in zip(*outputs, strict=True):
        np.testing.assert_allclose(sparse, dense, atol=1e-5)

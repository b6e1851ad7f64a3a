import keras
import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.layers.attention import AttentionBlock, WindowAttention, position_bias
from tests.layer_checks import check_contract

RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.standard_normal(shape).astype("float32")


def make_attention(features, bias=True, **settings):
    """A built layer with weights of usual sizes, so that attention is uneven."""
    layer = WindowAttention(**settings)
    layer.build(features.shape)
    for weight in layer.trainable_variables:
        is_bias = weight.name == "relative_bias"
        weight.assign(tf.zeros_like(weight) if is_bias and not bias else draw(*weight.shape))
    for projection in (layer.query, layer.key, layer.value, layer.to_features):
        projection.fold()
        shape = projection.kernel.shape
        projection.kernel.assign(draw(*shape) / np.sqrt(shape[2]))
    return layer


def attention_of_keras(layer, channels):
    """Keras's own attention with the weights of a layer, and any bias of the keys."""
    heads, inner = layer.num_heads, layer.head_channels
    keras_layer = keras.layers.MultiHeadAttention(heads, inner)
    keras_layer.build((None, None, channels), (None, None, channels))
    inputs = (channels, heads, inner)
    keras_layer.set_weights(
        [
            np.reshape(layer.query.kernel, inputs),
            np.reshape(layer.query.bias, inputs[1:]),
            np.reshape(layer.key.kernel, inputs),
            draw(heads, inner),
            np.reshape(layer.value.kernel, inputs),
            np.reshape(layer.value.bias, inputs[1:]),
            np.reshape(layer.to_features.kernel, (heads, inner, channels)),
            np.asarray(layer.to_features.bias),
        ]
    )
    return keras_layer


@pytest.mark.parametrize(("height", "width"), [(6, 6), (4, 5), (1, 6)])
@pytest.mark.parametrize(("channels", "heads"), [(8, 2), (7, 3), (2, 4)])
def test_a_window_that_covers_the_image_equals_the_attention_of_keras(
    height, width, channels, heads
):
    features = draw(2, height, width, channels)
    layer = make_attention(features, bias=False, num_heads=heads, window=6)
    pixels = features.reshape(2, height * width, channels)
    expected = attention_of_keras(layer, channels)(pixels, pixels)
    attended = np.reshape(layer(features), expected.shape)
    np.testing.assert_allclose(attended, expected, atol=1e-4)


def attention_of_loops(layer, features):
    """One image, pixel by pixel: the windows are the cells of a moved grid."""
    height, width, _ = features.shape
    query, key, value = (
        (features @ np.asarray(each.kernel)[0, 0] + (0 if each.bias is None else each.bias))
        for each in (layer.query, layer.key, layer.value)
    )
    heads, size = layer.num_heads, layer.head_channels
    bias, most = np.asarray(layer.relative_bias), layer.window - 1
    attended = np.zeros((height, width, heads * size))
    cells = {
        (y, x): ((y - layer.shift) // layer.window, (x - layer.shift) // layer.window)
        for y in range(height)
        for x in range(width)
    }
    for (y, x), cell in cells.items():
        others = [place for place, other in cells.items() if other == cell]
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            logits = [
                np.dot(query[y, x, part], key[v, u, part]) / np.sqrt(size)
                + bias[v - y + most, u - x + most, head]
                for v, u in others
            ]
            shares = np.exp(logits - np.max(logits))
            values = np.array([value[place][part] for place in others])
            attended[y, x, part] = shares / shares.sum() @ values
    return attended @ np.asarray(layer.to_features.kernel)[0, 0] + layer.to_features.bias


@pytest.mark.parametrize(("height", "width"), [(8, 4), (5, 7), (2, 3), (9, 8)])
@pytest.mark.parametrize("shift", [0, 1, 2, 3])
def test_attention_equals_that_of_loops_over_pixels(height, width, shift):
    features = draw(2, height, width, 4)
    layer = make_attention(features, num_heads=2, window=4, shift=shift)
    expected = [attention_of_loops(layer, image) for image in features]
    np.testing.assert_allclose(layer(features), expected, atol=1e-4)


def test_the_bias_is_that_of_the_offset_from_query_to_key():
    window, heads = 3, 2
    table = draw(2 * window - 1, 2 * window - 1, heads)
    expected = np.zeros((heads, window**2, window**2))
    for query in range(window**2):
        for key in range(window**2):
            rows = key // window - query // window + window - 1
            columns = key % window - query % window + window - 1
            expected[:, query, key] = table[rows, columns]
    np.testing.assert_array_equal(position_bias(tf.constant(table)), expected)


def test_moving_features_by_whole_windows_moves_the_result():
    features = draw(1, 12, 16, 4)
    layer = make_attention(features, num_heads=2, window=4)
    moved = layer(np.roll(features, (4, 8), axis=(1, 2)))
    np.testing.assert_allclose(moved, np.roll(layer(features), (4, 8), axis=(1, 2)), atol=1e-5)
    by_one = layer(np.roll(features, 1, axis=1))
    assert np.abs(by_one - np.roll(layer(features), 1, axis=1)).max() > 0.1


@pytest.mark.parametrize("shift", [0, 2])
def test_a_pixel_depends_on_its_own_window_only(shift):
    features = draw(1, 7, 9, 4)
    layer = make_attention(features, num_heads=2, window=4, shift=shift)
    changed = features.copy()
    changed[0, 5, 5] += 1
    # Rows and columns 4 to 7 are a window of its own, or 2 to 5.
    differs = np.any(layer(changed) != layer(features), axis=-1)[0]
    first = 4 - shift
    expected = np.zeros((7, 9), bool)
    expected[first : first + 4, first : first + 4] = True
    np.testing.assert_array_equal(differs, expected)


def test_padding_does_not_reach_the_result():
    features = draw(1, 5, 6, 4)
    layer = make_attention(features, num_heads=2, window=4)
    # Without a mask, zeros beyond the border would take part of the attention.
    alone = layer(features[:, 4:])
    np.testing.assert_allclose(layer(features)[:, 4:], alone, atol=1e-5)


@pytest.mark.parametrize("shift", [0, 2])
def test_unknown_sizes_give_the_same_result(shift):
    features = draw(2, 7, 8, 4)
    layer = make_attention(features, num_heads=2, window=4, shift=shift)
    spec = tf.TensorSpec([None, None, None, 4])
    attend = tf.function(lambda features: layer(features), input_signature=[spec])
    for image in (features, features[:1, :4], draw(3, 4, 4, 4)):
        np.testing.assert_allclose(attend(image), layer(image), atol=1e-6)


@pytest.mark.parametrize("shift", [0, 2])
def test_xla_gives_the_same_result(shift):
    features = draw(1, 6, 8, 4)
    layer = make_attention(features, num_heads=2, window=4, shift=shift)
    compiled = tf.function(lambda features: layer(features), jit_compile=True)
    np.testing.assert_allclose(compiled(features), layer(features), atol=1e-4)


def test_contract_of_attention(tmp_path):
    check_contract(
        lambda **kwargs: WindowAttention(2, window=4, shift=1, **kwargs),
        draw(2, 6, 8, 6),
        output_shape=(2, 6, 8, 6),
        tmp_path=tmp_path,
    )


def test_contract_of_a_block(tmp_path):
    check_contract(
        lambda **kwargs: AttentionBlock(2, window=4, **kwargs),
        draw(2, 6, 8, 6),
        output_shape=(2, 6, 8, 6),
        tmp_path=tmp_path,
    )


def test_a_new_block_is_the_identity():
    features = draw(2, 6, 8, 6)
    np.testing.assert_array_equal(AttentionBlock(2, window=4)(features), features)


def test_a_block_carries_information_across_the_borders_of_windows():
    features = draw(1, 8, 8, 6)
    block = AttentionBlock(2, window=4)
    block(features)
    for scale in block.scales:
        scale.assign(tf.ones_like(scale))
    changed = features.copy()
    changed[0, 0, 0, 0] += 1
    differs = np.any(block(changed) != block(features), axis=-1)[0]
    # The first windows end at 4; the moved ones carry on to 6.
    assert differs[:6, :6].all() and not differs[6:].any() and not differs[:, 6:].any()


@pytest.mark.parametrize("shift", [-1, 4])
def test_a_shift_of_a_window_or_more_is_rejected(shift):
    with pytest.raises(ValueError, match=rf"shift.*Received: shift={shift}, window=4"):
        WindowAttention(window=4, shift=shift)

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.layers.spade import SPADE
from medusis_tf.layers.transformer_blocks import TransformerBlock, TransformerStage
from tests.layer_checks import check_contract

RNG = np.random.default_rng(0)
SMALL = {"num_heads": 2, "window": 4, "spade_channels": 5, "noise_dim": 3}


def draw(*shape):
    return RNG.standard_normal(shape).astype("float32")


def draw_labels(*shape):
    return np.eye(4, dtype="float32")[RNG.integers(4, size=shape)]


def inputs(channels=6):
    return draw(2, 6, 8, channels), draw_labels(2, 6, 8), draw(2, 3)


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
def test_contract_of_a_block(padding, tmp_path):
    check_contract(
        lambda **kwargs: TransformerBlock(6, shift=2, padding=padding, **SMALL, **kwargs),
        *inputs(),
        output_shape=(2, 6, 8, 6),
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize("channels", [6, 4])
def test_contract_of_a_stage(channels, tmp_path):
    check_contract(
        lambda **kwargs: TransformerStage(4, depth=3, **SMALL, **kwargs),
        *inputs(channels),
        output_shape=(2, 6, 8, 4),
        tmp_path=tmp_path,
    )


def test_a_new_block_is_the_identity():
    features, *conditions = inputs()
    np.testing.assert_array_equal(TransformerBlock(6, **SMALL)(features, *conditions), features)


def with_scales(layer, features, *conditions):
    layer(features, *conditions)
    for weight in layer.trainable_variables:
        if weight.name.startswith("scale"):
            weight.assign(tf.ones_like(weight))
    return layer


def test_a_block_is_two_residuals_after_spade():
    features, *conditions = inputs()
    block = with_scales(TransformerBlock(6, **SMALL), features, *conditions)
    middle = features + block.attention(block.norm_0(features, *conditions))
    hidden = block.dense_0(block.norm_1(middle, *conditions))
    expected = middle + block.dense_1(tf.nn.leaky_relu(hidden, 0.2))
    np.testing.assert_allclose(block(features, *conditions), expected, atol=1e-5)
    assert isinstance(block.norm_0, SPADE)


def test_sparse_and_dense_blocks_are_equal():
    features, *conditions = inputs()
    sparse = with_scales(TransformerStage(4, sparse=True, **SMALL), features, *conditions)
    dense = with_scales(TransformerStage(4, sparse=False, **SMALL), features, *conditions)
    dense.set_weights(sparse.get_weights())
    expected = sparse(features, *conditions)
    np.testing.assert_allclose(dense(features, *conditions), expected, atol=1e-5)


def test_every_second_block_of_a_stage_has_moved_windows():
    stage = TransformerStage(6, depth=4, **SMALL)
    stage(*inputs())
    assert [block.shift for block in stage.blocks] == [0, 2, 0, 2]


def test_labels_reach_other_pixels_of_their_window():
    features, labels, noise = inputs()
    block = with_scales(TransformerBlock(6, **SMALL), features, labels, noise)
    changed = labels.copy()
    changed[0, 0, 0] = np.roll(changed[0, 0, 0], 1)
    differs = np.any(block(features, changed, noise) != block(features, labels, noise), axis=-1)
    assert differs[0, :4, :4].all()
    assert not differs[0, 4:].any() and not differs[1].any()

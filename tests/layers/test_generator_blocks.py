import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.layers.generator_blocks import SPADEBlock, WaveletBlock
from tests.layer_checks import check_contract


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def draw_labels(height, width):
    ids = np.random.default_rng(1).integers(3, size=(2, height, width))
    return np.eye(3, dtype="float32")[ids]


@pytest.mark.parametrize("filters", [8, 12])
@pytest.mark.parametrize("block_class, factor", [(SPADEBlock, 1), (WaveletBlock, 2)])
def test_contract(block_class, factor, filters, tmp_path):
    shape = (2, 4, 6, filters)
    check_contract(
        lambda **kwargs: block_class(filters, spade_channels=6, noise_dim=5, **kwargs),
        draw(2, 4, 6, 12),
        draw_labels(4 * factor, 6 * factor),
        draw(2, 5),
        output_shape=shape if block_class is SPADEBlock else (shape, shape),
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize("block_class, factor", [(SPADEBlock, 1), (WaveletBlock, 2)])
def test_sparse_and_dense_blocks_give_equal_outputs(block_class, factor):
    inputs = draw(2, 4, 6, 12), draw_labels(4 * factor, 6 * factor), draw(2, 5)
    sparse, dense = (
        block_class(8, spade_channels=6, noise_dim=5, sparse=is_sparse)
        for is_sparse in (True, False)
    )
    expected = tf.nest.flatten(sparse(*inputs))
    dense(*inputs)
    dense.set_weights(sparse.get_weights())
    for output, other in zip(tf.nest.flatten(dense(*inputs)), expected, strict=True):
        np.testing.assert_allclose(output, other, atol=1e-5)

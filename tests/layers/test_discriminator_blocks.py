import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.layers.discriminator_blocks import DiscriminatorBlock, MinibatchStandardDeviation
from tests.layer_checks import check_contract


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def test_discriminator_block_contract(tmp_path):
    check_contract(
        lambda **kwargs: DiscriminatorBlock(7, **kwargs),
        draw(2, 8, 12, 5),
        output_shape=(2, 4, 6, 7),
        tmp_path=tmp_path,
    )


def test_standard_deviation_contract(tmp_path):
    check_contract(
        MinibatchStandardDeviation,
        draw(4, 2, 3, 5),
        output_shape=(4, 2, 3, 6),
        tmp_path=tmp_path,
    )


def constant_images(*values):
    return tf.ones([len(values), 2, 2, 3]) * tf.reshape(tf.constant(values), [-1, 1, 1, 1])


@pytest.mark.parametrize(
    "values, deviations",
    [
        ([5.0], [0.0]),
        ([0.0, 2.0], [1.0, 1.0]),
        # Two interleaved groups of four: images 0, 2, 4, 6 are equal, 1, 3, 5, 7 are not.
        ([0.0, 1.0, 0.0, 3.0, 0.0, 1.0, 0.0, 3.0], [0.0, 1.0] * 4),
        # Six images form two groups of three, since four does not divide six.
        ([0.0, 1.0, 0.0, 1.0, 0.0, 1.0], [0.0] * 6),
    ],
)
def test_deviation_within_interleaved_groups(values, deviations):
    outputs = MinibatchStandardDeviation(group_size=4)(constant_images(*values))
    np.testing.assert_allclose(outputs[:, 0, 0, -1], deviations, atol=2e-4)


def test_standard_deviation_of_an_unknown_batch():
    layer = MinibatchStandardDeviation()
    traced = tf.function(lambda x: layer(x), [tf.TensorSpec([None, 2, 2, 3])])
    np.testing.assert_allclose(traced(constant_images(0.0, 2.0))[:, 0, 0, -1], [1, 1], atol=1e-6)

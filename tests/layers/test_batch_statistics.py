import keras
import numpy as np
import pytest

from medusis_tf.layers.spade import BatchStatistics


@pytest.fixture
def features():
    return 2 * np.random.default_rng(0).standard_normal((2, 4, 6, 3)).astype("float32") + 1


@pytest.mark.parametrize("training", [True, False])
def test_normalises_as_keras_does(features, training):
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


def test_statistics_are_float32_under_mixed_precision(features):
    layer = BatchStatistics(dtype="mixed_bfloat16")
    mean, reciprocal = layer(features, training=True)
    assert mean.dtype == reciprocal.dtype == layer.moving_mean.value.dtype == "float32"


def test_config_round_trip():
    layer = BatchStatistics(synchronized=True, momentum=0.5, epsilon=1e-3)
    assert BatchStatistics.from_config(layer.get_config()).get_config() == layer.get_config()

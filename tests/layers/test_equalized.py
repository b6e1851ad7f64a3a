import numpy as np
import pytest

from medusis_tf.layers.equalized import EqualizedConv, EqualizedDense
from tests.layer_checks import check_contract


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


@pytest.mark.parametrize(
    "settings, output_shape",
    [
        ({}, (2, 7, 9, 6)),
        ({"kernel_size": 1, "activate": False}, (2, 7, 9, 6)),
        ({"strides": 2, "padding": "valid"}, (2, 3, 4, 6)),
        ({"strides": 2}, (2, 4, 5, 6)),
    ],
)
def test_convolution_contract(settings, output_shape, tmp_path):
    check_contract(
        lambda **kwargs: EqualizedConv(6, **settings, **kwargs),
        draw(2, 7, 9, 3),
        output_shape=output_shape,
        tmp_path=tmp_path,
    )


def test_dense_contract(tmp_path):
    check_contract(
        lambda **kwargs: EqualizedDense(6, **kwargs),
        draw(2, 5),
        output_shape=(2, 6),
        tmp_path=tmp_path,
    )


def test_dense_equals_a_manual_computation():
    layer = EqualizedDense(2)
    layer.build((None, 4))
    layer.kernel.assign([[1, -1]] * 4)
    layer.bias.assign([0, 1])
    # Kernel times 1 / sqrt(4), then bias, slope 0.2 below zero and gain sqrt(2).
    expected = np.sqrt(2) * np.array([2.0, 0.2 * (-2 + 1)])
    np.testing.assert_allclose(layer(np.ones((1, 4), dtype="float32"))[0], expected, rtol=1e-6)


def test_dense_without_activation_is_linear():
    layer = EqualizedDense(1, activate=False)
    layer.build((None, 4))
    layer.kernel.assign([[-1]] * 4)
    np.testing.assert_allclose(layer(np.ones((1, 4), dtype="float32")), [[-2.0]])


def test_output_preserves_the_variance_of_the_input():
    features = draw(4, 16, 16, 64)
    outputs = EqualizedConv(64, activate=False)(features)
    assert 0.8 < np.std(outputs[:, 1:-1, 1:-1]) < 1.2

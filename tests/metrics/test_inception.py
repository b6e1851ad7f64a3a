"""Against pytorch-fid, and Keras's InceptionV3, whose weights are named here as PyTorch does.

The graph of 2015 differs from Keras's in its last block only: a maximum in the place of a mean.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.metrics.inception import SIDE, InceptionNetwork, convolution_names
from tests.reference.metrics.seeded_weights import read_shapes, seeded_weights
from tests.reference.reference_arrays import cases, reference_arrays

# Our names of the layers, in the order in which Keras creates them.
_A = ("branch1x1", "branch5x5_1", "branch5x5_2", "branch3x3dbl_1", "branch3x3dbl_2",
      "branch3x3dbl_3", "branch_pool")  # fmt: skip
_B = ("branch3x3", "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3")
_C = ("branch1x1", "branch7x7_1", "branch7x7_2", "branch7x7_3",
      *(f"branch7x7dbl_{n}" for n in range(1, 6)), "branch_pool")  # fmt: skip
_D = ("branch3x3_1", "branch3x3_2", *(f"branch7x7x3_{n}" for n in range(1, 5)))
_E = ("branch1x1", "branch3x3_1", "branch3x3_2a", "branch3x3_2b", "branch3x3dbl_1",
      "branch3x3dbl_2", "branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool")  # fmt: skip
IN_ORDER = [
    "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3",
    *(f"Mixed_{block}.{name}" for block in ("5b", "5c", "5d") for name in _A),
    *(f"Mixed_6a.{name}" for name in _B),
    *(f"Mixed_{block}.{name}" for block in ("6b", "6c", "6d", "6e") for name in _C),
    *(f"Mixed_7a.{name}" for name in _D),
    *(f"Mixed_{block}.{name}" for block in ("7b", "7c") for name in _E),
]  # fmt: skip


ARRAYS = reference_arrays("metrics/inception")


@pytest.fixture(scope="module")
def seeded_network():
    return InceptionNetwork(seeded_weights(read_shapes(ARRAYS["shapes"])))


@pytest.mark.parametrize("case", cases(ARRAYS, "features"))
def test_features_agree_with_pytorch_fid(seeded_network, case):
    images = ARRAYS[f"{case}/images"].astype(np.float32)[..., np.newaxis] / 255
    found = seeded_network.features(np.repeat(images, 3, axis=-1)).numpy()
    expected = ARRAYS[f"{case}/features"]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def bilinear(image, side):
    """PyTorch's formula with align_corners=False: centres of pixels, and no smoothing."""

    def places(size):
        place = np.maximum((np.arange(side) + 0.5) * size / side - 0.5, 0)
        low = np.floor(place).astype(int)
        return low, np.minimum(low + 1, size - 1), place - low

    low, high, part = places(image.shape[0])
    rows = image[low] * (1 - part)[:, None] + image[high] * part[:, None]
    low, high, part = places(image.shape[1])
    return rows[:, low] * (1 - part) + rows[:, high] * part


@pytest.mark.parametrize("shape", [(64, 48), (256, 256), (320, 500)])
def test_resizes_by_the_formula_of_pytorch(seeded_network, shape):
    image = np.random.default_rng(0).random(shape)
    inputs = [np.tile(part[None, ..., None], 3).astype(np.float32) for part in
              (image, bilinear(image, SIDE))]  # fmt: skip
    resized = tf.image.resize(inputs[0], [SIDE, SIDE], "bilinear")
    np.testing.assert_allclose(resized, inputs[1], atol=1e-4)  # places in float32
    found, expected = (seeded_network.features(part).numpy() for part in inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * expected.max())


def test_the_mean_ignores_padding(seeded_network):
    ones = tf.ones([1, 5, 5, 2])
    assert (seeded_network._step("mean", ones, "").numpy() == 1).all()


def test_the_maximum_ignores_padding(seeded_network):
    below = -tf.ones([1, 5, 5, 2])
    assert (seeded_network._step("maximum", below, "").numpy() == -1).all()


@pytest.fixture(scope="module")
def keras_network():
    # The last block has the maximum of the graph of 2015.
    means, real = [], keras.layers.AveragePooling2D
    keras.utils.set_random_seed(0)

    def pooling(*args, **kwargs):
        means.append(1)
        is_last = len(means) == 9
        return (keras.layers.MaxPooling2D if is_last else real)(*args, **kwargs)

    patch = pytest.MonkeyPatch()
    patch.setattr(keras.src.layers, "AveragePooling2D", pooling)
    try:
        network = keras.applications.InceptionV3(include_top=False, weights=None, pooling="avg")
    finally:
        patch.undo()
    assert len(means) == 9
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(rng.normal(0, 0.1, shape))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, shape))
            layer.beta.assign(rng.normal(0, 0.1, shape))
    return network


@pytest.fixture(scope="module")
def weights(keras_network):
    def of(kind):
        return [layer for layer in keras_network.layers if isinstance(layer, kind)]

    # Layers are listed by depth; the numbers in their names give the order of creation.
    def order(layer):
        return int(layer.name.rpartition("_")[2]) if layer.name[-1].isdigit() else 0

    convolutions = sorted(of(keras.layers.Conv2D), key=order)
    norms = sorted(of(keras.layers.BatchNormalization), key=order)
    found = {}
    for name, convolution, norm in zip(IN_ORDER, convolutions, norms, strict=True):
        found[f"{name}.conv.weight"] = convolution.kernel.numpy().transpose(3, 2, 0, 1)
        found[f"{name}.bn.weight"] = np.ones(norm.beta.shape)
        found[f"{name}.bn.bias"] = norm.beta.numpy()
        found[f"{name}.bn.running_mean"] = norm.moving_mean.numpy()
        found[f"{name}.bn.running_var"] = norm.moving_variance.numpy()
    return found


def test_names():
    assert sorted(convolution_names()) == sorted(IN_ORDER)
    assert len(IN_ORDER) == 94


def test_features_agree_with_keras(keras_network, weights):
    images = np.random.default_rng(1).random((2, 299, 299, 3)).astype(np.float32)
    expected = keras_network(images * 2 - 1, training=False).numpy()
    found = InceptionNetwork(weights).features(images).numpy()
    assert found.shape == (2, 2048)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())


def test_the_last_block_of_keras_differs_in_the_pooling_branch(keras_network, weights):
    own = keras.applications.InceptionV3(include_top=False, weights=None, pooling="avg")
    own.set_weights(keras_network.get_weights())
    images = np.random.default_rng(1).random((1, 299, 299, 3)).astype(np.float32)
    expected = own(images * 2 - 1, training=False).numpy()
    found = InceptionNetwork(weights).features(images).numpy()
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(found[:, :-192], expected[:, :-192], rtol=1e-3, atol=tolerance)
    assert np.abs(found[:, -192:] - expected[:, -192:]).max() > 100 * tolerance


def test_a_missing_tensor_is_named(weights):
    without = {
        name: value for name, value in weights.items() if name != "Mixed_6b.branch1x1.bn.bias"
    }
    with pytest.raises(KeyError, match=r"Mixed_6b\.branch1x1\.bn\.bias"):
        InceptionNetwork(without)

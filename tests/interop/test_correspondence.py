import keras
import numpy as np
import pytest

from medusis_tf.interop import correspondence


def variable(*shape):
    return keras.Variable(np.arange(np.prod(shape)).reshape(shape), dtype="float32")


KERNEL = variable(3, 2, 4, 5)
ENTRIES = {
    "vector": correspondence.vector(variable(6), (1, 6, 1, 1)),
    "kernel": correspondence.kernel(KERNEL),
    "kernel_inputs": correspondence.kernel_inputs(variable(24), KERNEL),
    "dense_kernel": correspondence.dense_kernel(variable(4, 5)),
    "after_flatten": correspondence.dense_kernel_after_flatten(variable(24, 5), 3, 2),
}


@pytest.mark.parametrize("entry", list(ENTRIES.values()), ids=list(ENTRIES))
def test_conversion_to_pytorch_and_back(entry):
    in_pytorch = entry.to_pytorch(entry.variable.numpy())
    assert in_pytorch.shape == entry.shape
    np.testing.assert_array_equal(entry.to_keras(in_pytorch), entry.variable.numpy())


def test_the_product_of_kernel_inputs_and_kernel_is_preserved():
    direction = np.arange(24.0)
    in_pytorch = ENTRIES["kernel_inputs"].to_pytorch(direction)
    kernel_in_pytorch = ENTRIES["kernel"].to_pytorch(KERNEL.numpy())
    expected = direction @ KERNEL.numpy().reshape(24, 5)
    np.testing.assert_allclose(kernel_in_pytorch.reshape(5, 24) @ in_pytorch, expected)


def test_the_product_of_a_flattened_map_and_its_dense_kernel_is_preserved():
    features = np.arange(24.0).reshape(3, 2, 4)
    channels_first = np.moveaxis(features, -1, 0).reshape(24)
    kernel = np.arange(120.0).reshape(24, 5)
    in_pytorch = ENTRIES["after_flatten"].to_pytorch(kernel)
    np.testing.assert_allclose(in_pytorch @ channels_first, features.reshape(24) @ kernel)

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from medusis_tf.ops.convolution import neighbours


@pytest.mark.parametrize("outside", [0, 7])
def test_as_scipy_sees_them(outside):
    values = np.random.default_rng(0).integers(0, 9, (2, 4, 5))
    found = np.stack(neighbours(tf.constant(values), outside), axis=-1)
    for image, around in zip(values, found, strict=True):
        for place in range(9):
            weights = np.arange(9).reshape(3, 3) == place
            expected = ndimage.correlate(image, weights.astype(int), mode="constant", cval=outside)
            np.testing.assert_array_equal(around[..., place], expected)


def test_channels_and_sizes_known_at_run_time_only():
    values = tf.random.normal([1, 3, 4, 2])
    spec = tf.TensorSpec([None, None, None, 2])
    found = tf.function(neighbours, input_signature=[spec])(values)
    np.testing.assert_array_equal(found[4], values)
    np.testing.assert_array_equal(found[5][:, :, :-1], values[:, :, 1:])
    np.testing.assert_array_equal(found[5][:, :, -1], 0)

import numpy as np
import pytest
from scipy import ndimage

from medusis_tf.data.labels.tissue import median_3x3x3

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 9, 3), (30, 70, 41)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_it_is_scipys(dtype, shape, order):
    array = np.asarray(RNG.integers(0, 200, shape), dtype, order=order)
    result = median_3x3x3(array)
    np.testing.assert_array_equal(result, ndimage.median_filter(array, size=3, mode="nearest"))
    assert result.dtype == dtype and result.flags[f"{order}_CONTIGUOUS"]


def test_views_of_any_strides():
    array = RNG.normal(size=(12, 13, 14)).astype(np.float32)[::-1].transpose(1, 0, 2)
    expected = ndimage.median_filter(array, size=3, mode="nearest")
    np.testing.assert_array_equal(median_3x3x3(array), expected)

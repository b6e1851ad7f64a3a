import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medusis_tf.data.intensities.order_statistics import (
    count_not_above,
    mean_and_deviation,
    order_statistics,
)

DTYPES = [np.uint8, np.int8, np.int16, ">i2", np.uint16, np.int32, np.uint32, np.int64]
shapes = arrays.array_shapes(min_dims=3, max_dims=3, max_side=6)


def finite(dtype):
    limits = {"allow_nan": False, "allow_infinity": False}
    return arrays.arrays(dtype, shapes, elements=limits)


@given(st.sampled_from(DTYPES).flatmap(lambda dtype: arrays.arrays(dtype, shapes)))
@settings(max_examples=150, deadline=None)
def test_ranks_of_integers_equal_sorting(array):
    expected = np.sort(array, axis=None).astype(np.float64)
    found = order_statistics(array, range(array.size))
    exact = int(array.max()) - int(array.min()) < 2**22
    np.testing.assert_array_equal(found, expected if exact else expected.astype(np.float32))


@given(st.sampled_from([np.float16, np.float32]).flatmap(finite))
@settings(max_examples=150, deadline=None)
def test_ranks_of_floats_equal_sorting(array):
    view, ranks = array.transpose(2, 0, 1)[::-1], range(array.size)
    expected = np.sort(array, axis=None)
    np.testing.assert_array_equal(order_statistics(view, ranks), expected)
    with pytest.MonkeyPatch.context() as patch:  # as for a volume too large for a copy
        patch.setattr("medusis_tf.data.intensities.order_statistics._MAX_COPIED", 0)
        np.testing.assert_array_equal(order_statistics(view, ranks), expected)


def test_counts_and_moments_equal_numpy_over_several_chunks():
    array = np.random.default_rng(0).normal(5, 2, [70, 80, 90]).astype(np.float32)
    ranks = [0, 1, 1000, array.size // 2, array.size - 1]
    np.testing.assert_array_equal(order_statistics(array, ranks), np.sort(array, axis=None)[ranks])
    expected = array.mean(dtype=np.float64), array.std(dtype=np.float64)
    assert mean_and_deviation(array) == pytest.approx(expected, rel=1e-9)
    assert count_not_above(array, 5) == np.count_nonzero(array <= 5)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_large_volumes_are_not_copied(dtype, monkeypatch):
    monkeypatch.setattr("medusis_tf.data.intensities.order_statistics._MAX_COPIED", 0)
    array = np.zeros([200, 200, 200], dtype)
    array[100:] = 9
    tracemalloc.start()
    order_statistics(array[:, ::-1], [5, 10])
    mean_and_deviation(array)
    count_not_above(array, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < array.nbytes / 2

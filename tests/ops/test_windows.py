import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.ops.windows import merge_windows, split_windows, window_mask


def numbered(height, width):
    return tf.reshape(tf.range(1, 1 + height * width), [1, height, width, 1])


def test_windows_are_in_reading_order():
    windows = split_windows(numbered(4, 4), 2)[..., 0]
    assert windows.numpy().tolist() == [
        [1, 2, 5, 6],
        [3, 4, 7, 8],
        [9, 10, 13, 14],
        [11, 12, 15, 16],
    ]


def test_the_border_is_padded_and_moved_windows_wrap():
    assert split_windows(numbered(1, 3), 2)[..., 0].numpy().tolist() == [[1, 2, 0, 0], [3, 0, 0, 0]]
    moved = split_windows(numbered(2, 2), 2, shift=1)[..., 0]
    assert moved.numpy().tolist() == [[4, 3, 2, 1]]
    assert np.array_equal(window_mask(numbered(2, 2), 2, shift=1)[0, 0], np.eye(4, dtype=bool))


@pytest.mark.parametrize("shift", [0, 1, 2])
@pytest.mark.parametrize(("height", "width"), [(6, 6), (5, 7), (1, 2)])
def test_merging_reverses_splitting(height, width, shift):
    features = np.random.default_rng(0).standard_normal((2, height, width, 3))
    windows = split_windows(tf.constant(features), 3, shift)
    np.testing.assert_array_equal(merge_windows(windows, features, 3, shift), features)


def test_the_mask_of_each_image_is_that_of_its_windows():
    mask = window_mask(tf.zeros([2, 3, 4, 1]), 2).numpy()
    assert mask.shape == (8, 1, 4, 4)
    np.testing.assert_array_equal(mask[:4], mask[4:])
    assert mask[:2].all()
    # The last row of windows has one row of pixels, and one of padding.
    real = np.array([True, True, False, False])
    np.testing.assert_array_equal(mask[2, 0], real[:, None] == real)


def test_whole_windows_need_no_mask():
    assert window_mask(tf.zeros([2, 4, 6, 1]), 2) is None

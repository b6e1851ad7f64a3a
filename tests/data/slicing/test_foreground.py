import numpy as np
import pytest

from medusis_tf.data.slicing.foreground import choose_slices, relative_positions


def test_a_slice_needs_enough_foreground_in_label_map_and_image():
    label_slices = np.zeros([4, 10, 10], np.uint8)
    image_slices = np.full([4, 10, 10], -1.0)
    label_slices[[0, 1], :2] = 1
    image_slices[[0, 2], :2] = -0.5
    image_slices[3] = -0.95
    assert choose_slices(label_slices, image_slices, 0.1).tolist() == [0]
    assert choose_slices(label_slices, None, 0.2).tolist() == [0, 1]
    assert choose_slices(label_slices, None, 0.21).tolist() == []
    assert choose_slices(None, image_slices, 0.1).tolist() == [0, 2]
    assert choose_slices(label_slices, image_slices, 0.0).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "skip_ends, kept", [(0, [0, 1, 3, 4, 5, 6]), (1, [1, 3, 4, 5]), (3, [3]), (4, []), (99, [])]
)
def test_slices_at_both_ends_are_skipped(skip_ends, kept):
    label_slices = np.ones([7, 2, 2], np.uint8)
    label_slices[2] = 0
    assert choose_slices(label_slices, None, 0.5, skip_ends).tolist() == kept


def test_positions_range_from_the_first_to_the_last_slice_of_the_body():
    label_slices = np.zeros([7, 4, 4], np.uint8)
    label_slices[1, 0, 0] = label_slices[5, 3, 3] = 2
    positions = relative_positions(label_slices, None)
    np.testing.assert_allclose(positions, [-0.25, 0, 0.25, 0.5, 0.75, 1, 1.25])
    image = np.full([7, 4, 4], -0.95)
    image[[0, 4]] = 0.3
    np.testing.assert_allclose(relative_positions(None, image), np.arange(7) / 4)
    np.testing.assert_array_equal(relative_positions(label_slices, image), positions)


def test_positions_without_a_body_or_with_one_slice():
    empty = np.zeros([5, 2, 2], np.uint8)
    np.testing.assert_allclose(relative_positions(empty, None), [0, 0.25, 0.5, 0.75, 1])
    assert relative_positions(empty[:1], None).tolist() == [0]
    empty[3] = 1
    assert relative_positions(empty, None).tolist() == [-3, -2, -1, 0, 1]

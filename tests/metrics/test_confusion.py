import numpy as np
import pytest

from medusis_tf.metrics.segmentation import ConfusionMatrix


def test_counts_by_hand():
    matrix = ConfusionMatrix(4)
    matrix.update(np.array([[0, 1], [1, 2]], np.uint8), np.array([[0, 1], [2, 2]], np.uint8))
    matrix.update(np.array([1]), np.array([1]))
    assert matrix.counts.tolist() == [[1, 0, 0, 0], [0, 2, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(matrix.dice, [1, 4 / 5, 2 / 3, np.nan])
    np.testing.assert_allclose(matrix.iou, [1, 2 / 3, 1 / 2, np.nan])


def test_a_class_read_where_it_is_not_has_dice_0():
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([0, 0]), np.array([0, 1]))
    assert matrix.dice.tolist() == [pytest.approx(2 / 3), 0]


@pytest.mark.parametrize("label_map, found", [([2], [0]), ([0], [2]), ([1], [-1])])
def test_ids_that_are_not_of_the_table_are_refused(label_map, found):
    with pytest.raises(ValueError, match="from 0 to 1"):
        ConfusionMatrix(2).update(np.array(label_map), np.array(found))


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        ConfusionMatrix(2).update(np.zeros(2, int), np.zeros(3, int))


def test_no_pixels_leave_all_open():
    matrix = ConfusionMatrix(2)
    matrix.update(np.zeros((0, 4), np.uint8), np.zeros((0, 4), np.uint8))
    assert np.isnan(matrix.dice).all()
    assert np.isnan(matrix.iou).all()

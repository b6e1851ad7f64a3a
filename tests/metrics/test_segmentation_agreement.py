import numpy as np
import pytest

from medusis_tf.metrics.segmentation_agreement import class_dice, mean_class_dice

NAMES = ["background", "fat", "muscle", "tumour"]


def test_dice_of_each_class_that_is_there():
    label_map = np.array([[[0, 1, 1, 2], [2, 2, 2, 0]]])
    found = np.array([[[0, 1, 2, 2], [2, 2, 3, 0]]])
    # Fat: 1 in common of 2 and 1; muscle: 3 of 4 and 4; tumour is in no label map.
    assert class_dice(found, label_map, NAMES) == pytest.approx({"fat": 2 / 3, "muscle": 6 / 8})
    assert class_dice(label_map, label_map, NAMES) == {"fat": 1, "muscle": 1}


def test_means_are_over_the_subjects_that_have_the_class():
    mean = mean_class_dice([{"fat": 0.5}, {"fat": 1.0, "tumour": 0.2}])
    assert mean == pytest.approx({"fat": 0.75, "tumour": 0.2})


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        class_dice(np.zeros((1, 2, 2), int), np.zeros((1, 2, 3), int), NAMES)

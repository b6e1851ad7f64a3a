import numpy as np
import pytest

from medusis_tf.metrics.segmentation import SegmentationMeasure
from tests.evaluation.judged import judged_subject

NAMES = ["background", "fat", "muscle", "tumour"]
LABELS = [[[0, 1, 1, 2], [2, 2, 2, 0]]]
FOUND = np.array([[[0, 1, 2, 2], [2, 2, 3, 0]]], np.uint8)


def results(*pairs, names=NAMES):
    """Of subjects and what is found in their pictures: the pictures are the classes."""
    measure = SegmentationMeasure(names, lambda _, pictures: pictures)
    for subject, found in pairs:
        measure.update(subject, found)
    return measure.results()


def test_dice_and_iou_of_each_class_by_hand():
    found = results((judged_subject(LABELS), FOUND))
    # Fat: 1 in common of 2 and 1; muscle: 3 of 4 and 4; tumour: found where it is not.
    assert {name: row["dice"] for name, row in found["classes"].items()} == pytest.approx(
        {"fat": 2 / 3, "muscle": 6 / 8, "tumour": 0}
    )
    assert {name: row["iou"] for name, row in found["classes"].items()} == pytest.approx(
        {"fat": 1 / 2, "muscle": 3 / 5, "tumour": 0}
    )
    assert found["mean_dice"] == pytest.approx((2 / 3 + 6 / 8) / 3)
    assert found["mean_iou"] == pytest.approx((1 / 2 + 3 / 5) / 3)
    assert found["confusion"]["pixels"] == [[2, 0, 0, 0], [0, 1, 1, 0], [0, 0, 3, 1], [0, 0, 0, 0]]


def test_a_class_that_is_nowhere_is_left_out():
    found = results((judged_subject(LABELS), np.array(LABELS, np.uint8)))
    assert list(found["classes"]) == ["fat", "muscle"]
    assert (found["mean_dice"], found["mean_iou"]) == (1, 1)
    assert found["classes"]["fat"]["hd95_mm"]["mean"] == 0


def test_background_does_not_count_in_the_means():
    found = results((judged_subject(np.zeros((1, 4, 4))), np.zeros((1, 4, 4), np.uint8)))
    assert np.isnan([found["mean_dice"], found["mean_iou"]]).all()
    assert found["classes"] == {}
    assert found["confusion"]["pixels"][0][0] == 16


def test_pixels_are_pooled_and_volumes_are_not():
    whole, half = np.ones((1, 4, 4), np.uint8), np.zeros((1, 4, 4), np.uint8)
    half[:, :2] = 1
    pairs = [(judged_subject(whole, "a"), whole), (judged_subject(whole, "b"), half)]
    fat = results(*pairs)["classes"]["fat"]
    assert fat["dice"] == pytest.approx(2 * 24 / (32 + 24))
    assert fat["volume_dice"]["mean"] == pytest.approx((1 + 2 * 8 / 24) / 2)
    assert fat["volume_dice"]["patients"] == 2


def test_volumes_without_the_class_are_left_out_of_its_mean():
    empty = np.zeros((1, 4, 4), np.uint8)
    pairs = [(judged_subject(LABELS, "a"), FOUND), (judged_subject(empty, "b"), empty)]
    assert results(*pairs)["classes"]["fat"]["volume_dice"]["patients"] == 1


def test_distances_of_slices_in_mm():
    labels, found = np.zeros((2, 16, 16), np.uint8), np.zeros((2, 16, 16), np.uint8)
    labels[:, 4:8, 4], found[:, 4:8, 6] = 1, 1
    found[1, :] = 0
    distances = results((judged_subject(labels), found))["classes"]["fat"]["hd95_mm"]
    # Pixels of 2.5 mm; in the second slice there is no distance to nothing.
    assert distances["mean"] == 5
    assert distances["slices"] == 1


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        results((judged_subject(np.zeros((1, 2, 2))), np.zeros((1, 2, 3), np.uint8)))

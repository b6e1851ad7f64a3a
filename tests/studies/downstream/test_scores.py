import numpy as np
import pytest

from medusis_tf.studies.downstream.scores import TestVolume, score, score_volume


def volume(label_map, patient="a", places=None, spacing=(5.0, 1.0, 2.0)):
    places = np.arange(len(label_map)) if places is None else np.array(places)
    return TestVolume(patient, label_map, label_map.astype(np.float32), places, spacing)


def test_a_perfect_segmenter_has_dice_1_and_distance_0():
    label_map = np.zeros((2, 4, 4), np.uint8)
    label_map[:, 1:3, 1:3] = 1
    [found] = score_volume(label_map, volume(label_map), 2)
    assert (found.dice, found.hd95_mm) == (1, 0)


def test_distances_are_in_mm_along_each_axis_and_across_missing_slices():
    label_map = np.zeros((2, 3, 3), np.uint8)
    found = label_map.copy()
    label_map[0, 1, 1] = found[1, 1, 1] = 1
    # Slice 1 of the volume is not in the data set: the two voxels are 2 slices of 5 mm apart.
    [value] = score_volume(found, volume(label_map, places=[0, 2]), 2)
    assert (value.dice, value.hd95_mm) == (0, 10)
    found = np.zeros_like(label_map)
    found[0, 1, 2] = 1
    assert score_volume(found, volume(label_map), 2)[0].hd95_mm == 2


def test_absent_classes_have_no_score_and_missed_ones_dice_0():
    label_map = np.zeros((1, 4, 4), np.uint8)
    label_map[0, 1:3, 1:3] = 1
    missed, absent = score_volume(np.zeros_like(label_map), volume(label_map), 3)
    assert missed.dice == 0
    assert np.isnan([missed.hd95_mm, absent.dice, absent.hd95_mm]).all()


def test_volumes_of_a_patient_count_as_their_mean():
    label_map = np.zeros((1, 4, 4), np.uint8)
    label_map[0, 1:3, 1:3] = 1
    half = np.where(np.arange(4) < 2, label_map, 0).astype(np.uint8)
    answers = iter([label_map, half, label_map])
    volumes = [volume(label_map), volume(label_map), volume(label_map, "b")]
    found = score(lambda _: next(answers), volumes, ["background", "fat"])
    assert found["a"]["fat"].dice == pytest.approx((1 + 2 * 2 / 6) / 2)
    assert found["b"]["fat"].dice == 1


def test_a_class_is_not_found_only_where_it_is_and_no_voxel_is_found():
    label_map = np.zeros((1, 4, 4), np.uint8)
    label_map[0, 0, 0] = 1
    nothing, elsewhere, false = (np.zeros_like(label_map) for _ in range(3))
    elsewhere[0, 3, 3] = 1
    false[0, 3, 3] = 2
    for found, expected in (
        (nothing, [True, False]),
        (elsewhere, [False, False]),
        (false, [True, False]),
        (label_map, [False, False]),
    ):
        scores = score_volume(found, volume(label_map), 3)
        assert [each.not_found for each in scores] == expected
    answers = iter([nothing, elsewhere, nothing, nothing])
    volumes = [volume(label_map, patient) for patient in "aabb"]
    found = score(lambda _: next(answers), volumes, ["background", "fat", "bone"])
    assert [found[patient]["fat"].not_found for patient in "ab"] == [False, True]
    assert not found["b"]["bone"].not_found

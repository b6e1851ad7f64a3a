import dataclasses

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from medusis_tf.metrics.overlap import ConfusionMatrix, dice, hd95, iou
from medusis_tf.metrics.segmentation import (
    CoarseSegmenter,
    SegmentationMeasure,
    SegmentationMetric,
)
from tests.evaluation.made_subjects import made_subject
from tests.reference.reference_arrays import cases, reference_arrays


def test_counts_by_hand():
    matrix = ConfusionMatrix(4)
    matrix.update(np.array([[0, 1], [1, 2]], np.uint8), np.array([[0, 1], [2, 2]], np.uint8))
    matrix.update(np.array([1]), np.array([1]))
    assert matrix.counts.tolist() == [[1, 0, 0, 0], [0, 2, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    np.testing.assert_allclose(matrix.dice, [1, 4 / 5, 2 / 3, np.nan])
    np.testing.assert_allclose(matrix.iou, [1, 2 / 3, 1 / 2, np.nan])


def test_a_class_found_in_the_wrong_place_has_dice_0():
    matrix = ConfusionMatrix(2)
    matrix.update(np.array([0, 0]), np.array([0, 1]))
    assert matrix.dice.tolist() == [pytest.approx(2 / 3), 0]


@pytest.mark.parametrize("label_map, found", [([2], [0]), ([0], [2]), ([1], [-1])])
def test_unknown_ids_are_refused(label_map, found):
    with pytest.raises(ValueError, match="from 0 to 1"):
        ConfusionMatrix(2).update(np.array(label_map), np.array(found))


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="same shape"):
        ConfusionMatrix(2).update(np.zeros(2, int), np.zeros(3, int))


def test_no_pixels_have_no_dice():
    matrix = ConfusionMatrix(2)
    matrix.update(np.zeros((0, 4), np.uint8), np.zeros((0, 4), np.uint8))
    assert np.isnan(matrix.dice).all()
    assert np.isnan(matrix.iou).all()


def test_dice_and_iou_of_masks_by_hand():
    masks = np.zeros((2, 2, 8), bool)
    masks[0, :, :4] = masks[1, 0, 2:6] = True
    first, second = masks
    # 2 pixels in common of 8 and 4.
    assert (dice(first, second), iou(first, second)) == (4 / 12, 2 / 10)
    np.testing.assert_array_equal(dice(first, second, axis=(1,)), [4 / 8, 0])
    np.testing.assert_array_equal(iou(first, first, axis=(1,)), [1, 1])
    assert np.isnan(dice(first & False, first & False))
    with pytest.raises(ValueError, match="same shape"):
        dice(first, second[:1])


def test_dice_and_iou_are_those_of_the_confusion_matrix():
    label_map, found = np.random.default_rng(0).integers(0, 3, (2, 9, 9))
    matrix = ConfusionMatrix(3)
    matrix.update(label_map, found)
    for k in range(3):
        assert dice(label_map == k, found == k) == pytest.approx(matrix.dice[k])
        assert iou(label_map == k, found == k) == pytest.approx(matrix.iou[k])


NAMES = ["background", "fat", "muscle", "tumour"]
LABELS = [[[0, 1, 1, 2], [2, 2, 2, 0]]]
FOUND = np.array([[[0, 1, 2, 2], [2, 2, 3, 0]]], np.uint8)


def results(*pairs, names=NAMES):
    """Results of subjects and the classes found in their images, which are the images."""
    measure = SegmentationMeasure(names, lambda _, images: images)
    for subject, found in pairs:
        measure.update(subject, found)
    return measure.results()


def test_dice_and_iou_of_each_class_by_hand():
    found = results((made_subject(LABELS), FOUND))
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


def test_an_absent_class_is_left_out():
    found = results((made_subject(LABELS), np.array(LABELS, np.uint8)))
    assert list(found["classes"]) == ["fat", "muscle"]
    assert (found["mean_dice"], found["mean_iou"]) == (1, 1)
    assert found["classes"]["fat"]["hd95_mm"]["mean"] == 0


def test_background_does_not_count_in_the_means():
    found = results((made_subject(np.zeros((1, 4, 4))), np.zeros((1, 4, 4), np.uint8)))
    assert np.isnan([found["mean_dice"], found["mean_iou"]]).all()
    assert found["classes"] == {}
    assert found["confusion"]["pixels"][0][0] == 16


def test_pixels_are_pooled_and_volumes_are_not():
    whole, half = np.ones((1, 4, 4), np.uint8), np.zeros((1, 4, 4), np.uint8)
    half[:, :2] = 1
    pairs = [(made_subject(whole, "a"), whole), (made_subject(whole, "b"), half)]
    fat = results(*pairs)["classes"]["fat"]
    assert fat["dice"] == pytest.approx(2 * 24 / (32 + 24))
    assert fat["volume_dice"]["mean"] == pytest.approx((1 + 2 * 8 / 24) / 2)
    assert fat["volume_dice"]["patients"] == 2


def test_volumes_without_the_class_are_left_out_of_its_mean():
    empty = np.zeros((1, 4, 4), np.uint8)
    pairs = [(made_subject(LABELS, "a"), FOUND), (made_subject(empty, "b"), empty)]
    assert results(*pairs)["classes"]["fat"]["volume_dice"]["patients"] == 1


def test_distances_of_slices_in_mm():
    labels, found = np.zeros((2, 16, 16), np.uint8), np.zeros((2, 16, 16), np.uint8)
    labels[:, 4:8, 4], found[:, 4:8, 6] = 1, 1
    found[1, :] = 0
    distances = results((made_subject(labels), found))["classes"]["fat"]["hd95_mm"]
    # Pixels of 2.5 mm; the second slice has no distance, because a mask is empty.
    assert distances["mean"] == 5
    assert distances["slices"] == 1


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="same shape"):
        results((made_subject(np.zeros((1, 2, 2))), np.zeros((1, 2, 3), np.uint8)))


ARRAYS = reference_arrays("metrics/surface_distances")


def mask(shape, *box):
    result = np.zeros(shape, bool)
    result[box] = True
    return result


def test_a_shifted_square_in_mm():
    first = mask((40, 40), slice(10, 20), slice(10, 20))
    second = mask((40, 40), slice(10, 20), slice(14, 24))
    # Pixels of 2 mm, shifted by four of them: most of the border is 8 mm away at most.
    assert hd95(first, second, (2.0, 2.0)) == pytest.approx(8)
    assert hd95(first, first, (2.0, 2.0)) == 0


def recorded(case, *quantities):
    return [ARRAYS[f"{case}/{quantity}"] for quantity in quantities]


@pytest.mark.parametrize("case", cases(ARRAYS, "medpy"))
def test_agrees_with_medpy(case):
    first, second, spacing, expected = recorded(case, "first", "second", "spacing", "medpy")
    found = hd95(first, second, tuple(spacing.tolist()))
    assert found == pytest.approx(float(expected), rel=1e-12)
    assert found == hd95(second, first, tuple(spacing.tolist()))


@pytest.mark.parametrize("case", cases(ARRAYS, "monai"))
def test_monai_takes_the_larger_of_two_directions(case):
    # Pooled, the percentile lies between those of the directions.
    first, second, spacing, greater = recorded(case, "first", "second", "spacing", "monai")
    assert hd95(first, second, tuple(spacing)) <= float(greater) * (1 + 1e-6)


def test_by_brute_force():
    rng = np.random.default_rng(0)
    first, second = (np.kron(rng.random((6, 7)) > 0.5, np.ones((3, 3))) > 0 for _ in range(2))
    spacing = np.array([1.5, 0.7])

    def border(array):
        padded = np.pad(array, 1)
        inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        return np.argwhere(array & ~inner) * spacing

    distances = cdist(border(first), border(second))
    expected = np.percentile(np.concatenate([distances.min(axis=1), distances.min(axis=0)]), 95)
    assert hd95(first, second, tuple(spacing)) == pytest.approx(expected)


def test_in_a_volume_distances_are_in_all_directions():
    first, second = mask((9, 9, 9), 4, 4, 4), mask((9, 9, 9), 6, 5, 4)
    assert hd95(first, second, (3.0, 2.0, 1.0)) == pytest.approx(np.hypot(6, 2))


def test_the_inner_border_counts_too():
    ring = mask((20, 20), slice(2, 18), slice(2, 18))
    full = ring.copy()
    ring[6:14, 6:14] = False
    # The ring's inner border is 4 or 3 pixels from the square's only border.
    assert hd95(ring, full, (1.0, 1.0)) == pytest.approx(3)


def test_an_empty_mask_has_no_distance():
    assert np.isnan(hd95(mask((8, 8), 3), mask((8, 8), slice(0)), (1.0, 1.0)))


def test_a_mask_at_the_edge_of_the_slice():
    first, second = mask((10, 10), slice(0, 3)), mask((10, 10), slice(0, 5))
    assert hd95(first, second, (1.0, 1.0)) == pytest.approx(2)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        hd95(mask((8, 8), 3), mask((8, 9), 3), (1.0, 1.0))


def test_finer_classes_are_also_counted_as_the_coarse_ones():
    # Class 3 is part of class 1: what is confused between them is right for the coarse class.
    label_map = np.array([[[0, 1, 3, 2], [3, 1, 2, 0]]], np.uint8)
    found = np.array([[[0, 3, 1, 2], [3, 1, 1, 0]]], np.uint8)
    names = ["background", "bone", "muscle", "marrow"]
    coarse = {0: "background", 1: "bone", 2: "muscle"}
    measure = SegmentationMeasure(names, lambda _, images: images, (0, 1, 2, 1), coarse)
    measure.update(made_subject(label_map), found)
    results = measure.results()
    assert results["dice_coarse"]["classes"] == {"bone": pytest.approx(8 / 9), "muscle": 2 / 3}
    assert results["dice_coarse"]["mean"] == pytest.approx((8 / 9 + 2 / 3) / 2)
    assert results["classes"]["marrow"]["dice"] == 1 / 2
    by_hand = dice(np.isin(label_map, [1, 3]), np.isin(found, [1, 3]))
    assert results["dice_coarse"]["classes"]["bone"] == pytest.approx(by_hand)


def test_a_coarse_segmenter_is_measured_by_coarse_classes():
    label_map = np.array([[[0, 1, 3, 2], [3, 1, 2, 0]]], np.uint8)
    found = np.array([[[0, 1, 1, 2], [1, 1, 1, 0]]], np.uint8)
    names = ["background", "bone", "muscle", "marrow"]
    coarse = {0: "background", 1: "bone", 2: "muscle"}
    segmenter = CoarseSegmenter(lambda _, images: images)
    measure = SegmentationMeasure(names, segmenter, (0, 1, 2, 1), coarse)
    measure.update(made_subject(label_map), found)
    results = measure.results()
    assert set(results["classes"]) == {"bone", "muscle"}
    assert results["mean_dice"] == pytest.approx(results["dice_coarse"]["mean"])


def test_without_finer_classes_nothing_is_coarse():
    assert "dice_coarse" not in SegmentationMeasure(NAMES, lambda _, images: images).results()


def medpy_hd95(mask, true_mask, spacing):
    """HD95 of volumes as MedPy computes it, by distance transforms."""

    def border(volume):
        return volume ^ ndimage.binary_erosion(volume, ndimage.generate_binary_structure(3, 1))

    def one_way(source, target):
        return ndimage.distance_transform_edt(~border(target), spacing)[border(source)]

    pooled = np.hstack([one_way(mask, true_mask), one_way(true_mask, mask)])
    return np.percentile(pooled, 95)


def blobs(seed):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(9, 20, 24)), 2)
    return np.digitize(noise, [-0.02, 0.05]).astype(np.uint8)


def test_hd95_of_volumes_is_in_mm_of_slices_rows_and_columns():
    label_map, found = blobs(0), blobs(1)
    measure = SegmentationMeasure(
        NAMES, lambda _, images: images, slice_spacing_mm={"one": 7.0, "two": 1.5}
    )
    for name in ("one", "two", "without spacing"):
        measure.update(made_subject(label_map, name), found)
    results = measure.results()["classes"]
    for k, name in ((1, "fat"), (2, "muscle")):
        expected = [
            medpy_hd95(found == k, label_map == k, (slice_mm, 2.5, 2.5)) for slice_mm in (7, 1.5)
        ]
        summary = results[name]["volume_hd95_mm"]
        assert summary["mean"] == pytest.approx(np.mean(expected), rel=1e-12)
        assert (summary["patients"], summary["slices"]) == (2, 2)
        expected = dice(found == k, label_map == k)
        assert results[name]["volume_dice"]["mean"] == pytest.approx(expected)


def test_missing_slices_are_empty_in_a_volume():
    subject = made_subject(np.ones((2, 3, 3)))
    subject = dataclasses.replace(subject, slice_indices=np.array([2, 12]))
    found = np.ones((2, 3, 3), np.uint8)
    found[1] = 0
    measure = SegmentationMeasure(NAMES, lambda _, images: images, slice_spacing_mm={"d": 3.0})
    measure.update(subject, found)
    # The second slice is 30 mm away from the first one.
    assert measure.results()["classes"]["fat"]["volume_hd95_mm"]["mean"] == pytest.approx(30)


def test_the_table_has_volumes_if_there_are_distances_of_volumes():
    def cells(spacing):
        measure = SegmentationMeasure(NAMES, lambda _, images: images, slice_spacing_mm=spacing)
        measure.update(made_subject(LABELS), FOUND)
        content = {"methods": [{"name": "m", "segmentation": {"net": measure.results()}}]}
        [table, _] = SegmentationMetric.tables(content)
        return dict(zip([each.title for each in table.columns], table.rows[0][1], strict=True))

    with_volumes, without = cells({"d": 3.0}), cells({})
    assert with_volumes["volume Dice"] == pytest.approx((2 / 3 + 6 / 8) / 3)
    assert with_volumes["volume HD95 mm"] > 0
    assert list(without) == ["mean Dice", "mean IoU", "mean HD95 mm"]

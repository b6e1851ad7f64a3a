"""Finer classes cut from label maps by a CT whose true tissues are known."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.optimize import brentq
from scipy.stats import norm

from medusis_tf.config.taxonomy import ClassEntry
from medusis_tf.data.labels.hounsfield_mixture import mixture_limits
from medusis_tf.data.labels.refinement import refine, refine_volume
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError

RNG = np.random.default_rng(0)
NAMES = ["background", "fat", "soft_tissue", "bone"]
BACKGROUND, FAT, SOFT, BONE, FINE = range(5)
SPACING = (1.0, 1.0, 3.0)


def classes(**entries):
    own = [ClassEntry(id=i, name=name, colour=(0, 0, 0)) for i, name in enumerate(NAMES)]
    return [
        *own,
        *(
            ClassEntry(id=4 + i, name=name, colour=(0, 0, 0), part_of=part_of, where=where)
            for i, (name, (part_of, where)) in enumerate(entries.items())
        ),
    ]


def limb():
    """Marrow, cortex, muscle, fat and air in rings: radius, label map and CT."""
    x, y = np.mgrid[-30:30, -30:30]
    radius = np.hypot(x, y)
    rings = [radius < 5, radius < 8.5, radius < 16, radius < 25]
    ct = np.select(rings, [0, 1200, 50, -100], -1000).astype(np.float32)
    labels = np.select(rings, [BONE, BONE, SOFT, FAT], BACKGROUND).astype(np.uint8)
    stacked = (np.repeat(each[:, :, np.newaxis], 6, axis=2) for each in (radius, labels, ct))
    return tuple(stacked)


def test_marrow_is_found_where_it_is():
    radius, labels, ct = limb()
    noisy = ct + RNG.normal(0, 30, ct.shape).astype(np.float32)
    rule = {"upper_hu": 400, "erode_pixels": 1}
    refined = refine(labels, noisy, SPACING, classes(marrow=("bone", rule)))
    np.testing.assert_array_equal(refined == FINE, radius < 5)
    np.testing.assert_array_equal(np.where(refined == FINE, BONE, refined), labels)


def test_erosion_is_that_of_scipy_in_each_slice():
    _, labels, ct = limb()
    for pixels in (1, 2):
        rule = {"erode_pixels": pixels}
        refined = refine(labels, ct, SPACING, classes(inner=("bone", rule)))
        cross = ndimage.generate_binary_structure(2, 1)[:, :, np.newaxis]
        expected = ndimage.binary_erosion(labels == BONE, cross, iterations=pixels)
        np.testing.assert_array_equal(refined == FINE, expected)
    refined = refine(labels, ct, (2.0, 2.0, 3.0), classes(inner=("bone", {"erode_mm": 3.0})))
    distance = ndimage.distance_transform_edt(labels[:, :, 0] == BONE, (2.0, 2.0))
    np.testing.assert_array_equal(refined[:, :, 0] == FINE, distance > 3)


def test_a_class_goes_on_beyond_the_edge_of_the_volume():
    labels, ct = np.full([8, 8, 3], BONE, np.uint8), np.zeros([8, 8, 3], np.float32)
    rule = {"upper_hu": 400, "erode_pixels": 2, "erode_mm": 2.0}
    refined = refine(labels, ct, SPACING, classes(marrow=("bone", rule)))
    assert (refined == FINE).all()


def test_skin_has_its_depth():
    _, labels, ct = limb()
    rule = {"inside_body": True, "depth_mm": [0, 2]}
    refined = refine(labels, ct, SPACING, classes(skin=("fat", rule)))
    depth = ndimage.distance_transform_edt(labels[:, :, 0] > 0)
    expected = (labels[:, :, 0] == FAT) & (depth <= 2)
    # The median removes a few pixels of the digital circle's tips.
    assert ((refined[:, :, 2] == FINE) != expected).sum() <= 8


def test_background_inside_the_body_and_not_outside_it():
    radius, labels, ct = limb()
    labels[radius >= 16] = BACKGROUND
    rule = {"inside_body": True, "lower_hu": -200, "upper_hu": -30}
    refined = refine(labels, ct, SPACING, classes(inner_fat=("background", rule)))
    assert set(np.unique(refined)) == {BACKGROUND, SOFT, BONE, FINE}
    assert (refined[(radius > 17) & (radius < 23)] == FINE).all()
    assert (refined[radius > 26] == BACKGROUND).all()


def test_the_first_rule_takes_the_voxel():
    _, labels, ct = limb()
    rules = {"a": ("bone", {"upper_hu": 100}), "b": ("bone", {"upper_hu": 2000})}
    refined = refine(labels, ct, SPACING, classes(**rules))
    assert (refined[labels == BONE] == np.where(refined[labels == BONE] == 4, 4, 5)).all()
    assert (refined == 4).any() and (refined == 5).any()


def test_a_rule_may_take_from_several_classes():
    _, labels, ct = limb()
    rule = {"of": ["fat", "soft_tissue"], "lower_hu": -500, "measured_on": "ct"}
    refined = refine(labels, ct, SPACING, classes(soft=("fat", rule)))
    np.testing.assert_array_equal(refined == FINE, (labels == FAT) | (labels == SOFT))


def test_small_components_stay_coarse():
    _, labels, ct = limb()
    ct[labels == SOFT] = 50
    ct[30:34, 41:45, 1:5] = -120  # 64 voxels, 192 mm3
    ct[30, 18, 3] = -120
    rule = {"upper_hu": -30, "measured_on": "ct", "smallest_mm3": 150}
    refined = refine(labels, ct, SPACING, classes(septa=("soft_tissue", rule)))
    assert (refined == FINE).sum() == 64
    rule = {**rule, "smallest_mm3": 193}
    assert not (refine(labels, ct, SPACING, classes(septa=("soft_tissue", rule))) == FINE).any()


def test_an_absent_class_is_no_problem():
    _, labels, ct = limb()
    labels[labels == BONE] = SOFT
    rule = {"upper_hu": 400, "erode_pixels": 1}
    np.testing.assert_array_equal(
        refine(labels, ct, SPACING, classes(marrow=("bone", rule))), labels
    )


def test_a_mixture_is_split_where_its_components_cross():
    values = np.concatenate([RNG.normal(-100, 20, 4000), RNG.normal(50, 20, 4000)])
    (limit,) = mixture_limits(values, 2)
    assert abs(limit - -25) < 5
    three = np.concatenate([values, RNG.normal(300, 40, 4000)])
    crossing = brentq(lambda x: norm.pdf(x, 50, 20) - norm.pdf(x, 300, 40), 60, 290)
    np.testing.assert_allclose(mixture_limits(three, 3), [-25, crossing], atol=5)
    assert (mixture_limits(np.zeros(0), 3) == np.inf).all()
    assert len(mixture_limits(np.zeros(5), 3)) == 2


def test_clusters_split_a_class_by_its_values():
    _, labels, ct = limb()
    noisy = ct + RNG.normal(0, 10, ct.shape).astype(np.float32)
    rule = {"clusters": 2, "cluster": 2}
    refined = refine(labels, noisy, SPACING, classes(hard=("bone", rule)))
    assert (ct[refined == FINE] == 1200).mean() > 0.95
    assert (refined[(labels == BONE) & (ct < 100)] == BONE).mean() > 0.9


def volume(array, shift=0.0, spacing=1.0):
    affine = np.diag([-spacing, -spacing, spacing, 1.0])
    affine[:3, 3] = [0, 0, shift]
    return Volume(np.asarray(array), affine, Path("v.nii"))


MARROW = classes(marrow=("bone", {"upper_hu": 400, "erode_pixels": 1}))


def test_a_ct_on_another_grid_is_resampled_onto_the_label_map():
    _, labels, ct = limb()
    fine = np.repeat(np.repeat(np.repeat(ct, 2, 0), 2, 1), 2, 2)
    affine = np.diag([-0.5, -0.5, 0.5, 1.0])
    affine[:3, 3] = [0.25, 0.25, -0.25]
    on_own = refine_volume(volume(labels), volume(ct), MARROW)
    on_other = refine_volume(volume(labels), Volume(fine, affine, Path("ct.nii")), MARROW)
    assert (on_own.array != on_other.array).mean() < 0.002


def test_stored_numbers_are_scaled_to_hounsfield_units():
    _, labels, ct = limb()
    stored = Volume((ct + 1024).astype(np.int16), volume(ct).affine, Path("v.nii"), 1.0, -1024.0)
    np.testing.assert_array_equal(
        refine_volume(volume(labels), stored, MARROW).array,
        refine_volume(volume(labels), volume(ct), MARROW).array,
    )


def test_where_the_ct_ends_classes_remain_coarse():
    _, labels, ct = limb()
    result = refine_volume(volume(labels), volume(ct[:, :, :4]), MARROW)
    assert (result.array[:, :, 4:] == labels[:, :, 4:]).all()
    assert (result.array == FINE).any()
    assert "covers 66.7% of it" in result.warnings[0]
    with pytest.raises(UserError, match=r"covers 0% of the label map"):
        refine_volume(volume(labels), volume(ct, shift=100.0), MARROW)


def test_a_label_map_without_a_ct_must_contain_finer_classes():
    _, labels, ct = limb()
    with pytest.raises(UserError, match=r"none of the finer classes \(marrow\)"):
        refine_volume(volume(labels), None, MARROW)
    fine = volume(np.where(ct == 0, FINE, labels).astype(np.uint8))
    assert refine_volume(fine, None, MARROW) is fine
    assert refine_volume(volume(labels), None, classes()).array is labels

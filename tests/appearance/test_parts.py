"""Tissues, prior, mixture and coupling, each against an exact case."""

import numpy as np
import pytest

from medusis_tf.appearance.fitting import extreme_pixels
from medusis_tf.appearance.geometry import trim_rim
from medusis_tf.appearance.mixture import Pixels, fit_mixture, unmix
from medusis_tf.appearance.potts import count_neighbours, fit_strength, smooth
from medusis_tf.appearance.tissues import group_classes, tissue_table
from medusis_tf.config.appearance import AppearanceConfig
from medusis_tf.config.packaged import find_table
from medusis_tf.config.taxonomy import ClassEntry, load_taxonomy
from medusis_tf.errors import UserError


@pytest.mark.parametrize(
    ("name", "tissue"),
    [
        ("background", "air"), ("subcutaneous_fat", "fat"), ("lung_left", "air"),
        ("femur_left", "bone"), ("rib_left_1", "bone"), ("skull", "bone"),
        ("inner_bone", "bone"), ("femur_marrow", "marrow"), ("septa_in_fat", "septa"),
        ("kidney_left", "organ"), ("kidney_cyst_left", "fluid"), ("urinary_bladder", "fluid"),
        ("cerebral_white_matter", "white_matter"), ("cerebral_cortex", "grey_matter"),
        ("left_thalamus_proper", "grey_matter"), ("autochthon_left", "muscle"),
        ("bone_marrow", "marrow"), ("tumour", "tumour"), ("jelly", None),
    ],
)  # fmt: skip
def test_tissues_are_found_by_class_name(name, tissue):
    assert tissue_table().tissue(name) == tissue


@pytest.mark.parametrize("table", ["synthrad31", "brain13", "brain20", "totalsegmentator_v2"])
def test_every_class_of_the_packaged_tables_is_in_one_group(table):
    classes = load_taxonomy(find_table(table)).classes
    groups = group_classes(classes, AppearanceConfig(contrast="t1"))
    grouped = sorted(each for group in groups for each in group.classes)
    assert grouped == [entry.id for entry in classes if entry.id]
    assert len(groups) <= 13


def grouped(names, **settings):
    classes = [ClassEntry(id=k, name=name, colour=(k, k, k)) for k, name in enumerate(names)]
    groups = group_classes(classes, AppearanceConfig(**settings))
    return {group.name: (group.kind, [names[each] for each in group.classes]) for group in groups}


def test_bone_is_cortex_only_if_marrow_is_a_class():
    assert grouped(["background", "bone"]) == {"bone": ("estimated", ["bone"])}
    assert grouped(["background", "fat", "bone", "marrow"]) == {
        "fat": ("estimated", ["fat", "marrow"]),
        "cortex": ("darkest", ["bone"]),
    }


@pytest.mark.parametrize(
    ("ties", "message"),
    [
        ({"bone": "background"}, "bone cannot be tied to background, the air around the body"),
        ({"bone": "air"}, "bone cannot be tied to air"),
        ({"background": "fat"}, "background cannot look like anything else.*Received: fat"),
        ({"air": "own"}, "air cannot look like anything else"),
    ],
)
def test_the_air_around_the_body_takes_part_in_no_tie(ties, message):
    with pytest.raises(UserError, match=message):
        grouped(["background", "fat", "bone"], ties=ties)


def test_a_class_is_tied_to_air_if_the_body_contains_some():
    groups = grouped(["background", "lung", "bone"], ties={"bone": "air"})
    assert groups == {"air": ("estimated", ["lung", "bone"])}
    with pytest.raises(UserError, match="cannot be tied to background"):
        grouped(["background", "lung", "bone"], ties={"bone": "background"})


@pytest.mark.parametrize(
    ("contrast", "partner"), [("t1", "soft_tissue"), ("t2", "fat"), ("pd", None)]
)
def test_the_contrast_decides_what_a_tumour_looks_like(contrast, partner):
    groups = grouped(["background", "fat", "soft_tissue", "tumour"], contrast=contrast)
    together = next(classes for _, classes in groups.values() if "tumour" in classes)
    assert together == (["tumour"] if partner is None else [partner, "tumour"])


def test_the_mixture_finds_the_gaussians_that_were_drawn():
    random = np.random.default_rng(0)
    means, deviations = np.array([-0.5, 0.1, 0.7]), np.array([0.1, 0.15, 0.1])
    prior = random.dirichlet([1, 1, 1], 6000)
    tissue = np.array([random.choice(3, p=each) for each in prior])
    grey = means[tissue] + deviations[tissue] * random.standard_normal(6000)
    pixels = [Pixels(grey, prior, random.uniform(-1, 1, (6000, 3)))]
    np.testing.assert_allclose(unmix(pixels), means, atol=0.05)
    none = np.zeros((1, 3))
    found = fit_mixture(pixels, np.zeros(3) + unmix(pixels), np.zeros(3), none, none, 50, 0)
    np.testing.assert_allclose(found.means[0], means, atol=0.02)
    np.testing.assert_allclose(found.deviations[0], deviations, atol=0.02)
    np.testing.assert_allclose(found.mixing[0], 1, atol=0.1)


def test_the_mixture_finds_a_bias_field():
    random = np.random.default_rng(0)
    tissue = random.integers(0, 2, 8000)
    places = random.uniform(-1, 1, (8000, 3))
    clean = np.array([-0.4, 0.4])[tissue] + 0.03 * random.standard_normal(8000)
    grey = (clean + 1) * np.exp(0.2 * places[:, 0]) - 1
    pixels = [Pixels(grey, np.full((8000, 2), 0.5), places)]
    none = np.zeros((1, 2))
    found = fit_mixture(pixels, np.array([-0.5, 0.5]), np.zeros(2), none, none, 50, 1)
    assert np.sort(found.bias[0]) == pytest.approx([0, 0, 0.2], abs=0.03)
    np.testing.assert_allclose(found.means[0], [-0.4, 0.4], atol=0.03)


def test_the_darkest_pixels_are_chosen_at_each_depth():
    grey = np.array([0.1, -0.5, 0.3, -0.9, 0.8, 0.0])
    depth = np.array([0, 0, 0, 1, 1, 1])
    share = np.array([1 / 3, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 2 / 3])
    assert extreme_pixels(grey, depth, share).tolist() == [False, True, False, True, False, True]


def test_neighbours_are_counted_across_touching_slices_only():
    one = np.zeros((3, 3, 3, 1), np.float32)
    one[1, 1, 1] = 1
    total = count_neighbours(one, np.array([4, 5, 9]))[..., 0]
    assert total.sum() == 5
    assert total[0, 1, 1] == 1
    assert total[2].sum() == 0


def test_coupling_removes_a_single_pixel_and_zero_coupling_keeps_it():
    log_joint = np.zeros((1, 7, 7, 2), np.float32)
    log_joint[..., 0] = 1
    log_joint[0, 3, 3] = [0, 1]
    body, indices = np.ones((1, 7, 7), bool), np.array([0])
    assert smooth(log_joint, body, 0.0, indices)[0, 3, 3].argmax() == 1
    assert smooth(log_joint, body, 1.0, indices)[0, 3, 3].argmax() == 0


def test_the_strength_is_larger_for_regions_than_for_noise():
    random = np.random.default_rng(0)
    noise = random.integers(0, 2, (2, 24, 24))
    regions = np.zeros_like(noise)
    regions[:, :, 12:] = 1
    prior, body = np.full((2, 24, 24, 2), 0.5), np.ones((2, 24, 24), bool)
    found = [fit_strength([(each, prior, body, np.arange(2))]) for each in (noise, regions)]
    assert found[0] < 0.2
    assert found[1] > 1.5


def test_the_rim_ends_at_half_of_the_tissue_beneath():
    image = np.full((1, 21, 21), -1.0)
    body = np.zeros((1, 21, 21), bool)
    image[:, 5:16, 5:16] = 0.6
    image[:, 4, 5:16] = -0.6  # a fifth of the way from air to tissue
    image[:, 16, 5:16] = 0.2  # three quarters
    body[:, 4:17, 5:16] = True
    trimmed = trim_rim(image, body)
    assert not trimmed[0, 4].any()
    assert trimmed[0, 16, 5:16].all()
    assert trimmed[0, 5:16, 5:16].all()


def test_a_tie_of_a_class_is_not_one_of_other_classes_of_a_tissue_of_that_name():
    names = ["background", "fat", "soft_tissue", "septa", "septa_in_fat"]
    classes = [ClassEntry(id=i, name=name, colour=(0, 0, 0)) for i, name in enumerate(names)]
    config = AppearanceConfig(contrast="t1", ties={"septa": "soft_tissue"})
    groups = group_classes(classes, config)
    assert {tuple(sorted(each.classes)) for each in groups} == {(1,), (2, 3), (4,)}

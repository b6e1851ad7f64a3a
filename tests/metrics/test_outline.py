import math

import numpy as np
import pytest

from medusis_tf.metrics.grey_levels import GreyLevels
from medusis_tf.metrics.outline import mean_outline, outline_agreement, visible_body

AIR, INVISIBLE, MUSCLE, FAT = -1.0, -0.85, -0.45, 0.8
LEVELS = GreyLevels(air=-0.9, dark_tissue=-0.68)
DISTANCE = np.hypot(*(np.mgrid[:64, :64] - 31.5))
LABEL_MAP = np.select([DISTANCE < 5, DISTANCE < 18, DISTANCE < 26], [3, 2, 1], 0)[np.newaxis]


def leg(fat=FAT, bone=AIR, noise=0.02, seed=0):
    """A round leg: a ring of fat, muscle, and a bone."""
    greys = np.array([AIR, fat, MUSCLE, bone])
    random = np.random.default_rng(seed)
    return np.maximum(greys[LABEL_MAP] + random.normal(0, noise, LABEL_MAP.shape), -1)


def test_the_body_is_found_with_its_dark_bone():
    body = visible_body(leg())
    assert (body == (LABEL_MAP != 0)).mean() > 0.999


@pytest.mark.parametrize("fat", [INVISIBLE, AIR])
def test_invisible_grey_is_no_body(fat):
    found = visible_body(leg(fat=fat), LEVELS.dark_tissue)
    assert (found == (DISTANCE < 18)).mean() > 0.99


def test_a_half_visible_ring():
    half = np.where(np.mgrid[:64, :64][1] < 32, FAT, INVISIBLE)
    image = np.where(LABEL_MAP == 1, half, leg())
    expected = (DISTANCE < 18) | ((DISTANCE < 26) & (half == FAT))
    assert (visible_body(image)[0] == expected).mean() > 0.99


def test_a_perfect_image_and_a_missing_ring():
    perfect = outline_agreement(leg(), LABEL_MAP, LEVELS)
    assert perfect.dice > 0.999
    ring, body = (LABEL_MAP == 1).sum(), (LABEL_MAP != 0).sum()
    bone = (LABEL_MAP == 3).sum()
    assert perfect.painted_as_air == pytest.approx(bone / body)
    assert perfect.invisible == 0
    found = outline_agreement(leg(fat=INVISIBLE), LABEL_MAP, LEVELS)
    assert found.dice == pytest.approx(2 * (body - ring) / (2 * body - ring), abs=0.01)
    assert found.pooled_dice == pytest.approx(found.dice)
    assert found.invisible == pytest.approx(ring / body, abs=0.01)
    found = outline_agreement(leg(fat=AIR), LABEL_MAP, LEVELS)
    assert found.painted_as_air == pytest.approx((ring + bone) / body)


def test_two_legs_count_and_a_speck_does_not():
    image = np.full((1, 64, 64), AIR)
    image[0, 10:30, 5:25] = FAT
    image[0, 10:30, 40:60] = MUSCLE
    expected = image[0] > AIR
    image[0, 50:53, 50:53] = FAT
    np.testing.assert_array_equal(visible_body(image)[0], expected)


def test_images_without_contrast_have_no_body():
    random = np.random.default_rng(0)
    flat = np.full((1, 64, 64), -0.3)
    air = -1 + np.abs(random.normal(0, 0.005, (1, 64, 64)))
    assert not visible_body(flat).any()
    assert not visible_body(air).any()
    found = outline_agreement(flat, LABEL_MAP, LEVELS)
    assert found.dice == 0


def test_slices_count_the_same_and_pixels_when_pooled():
    small = np.where(DISTANCE < 8, 1, 0)[np.newaxis]
    label_map = np.concatenate([LABEL_MAP, small, 0 * small])
    images = np.concatenate([leg(), np.full((2, 64, 64), AIR)])
    found = outline_agreement(images, label_map, LEVELS)
    assert found.dice == pytest.approx(0.5, abs=1e-3)
    both = (LABEL_MAP != 0).sum()
    assert found.pooled_dice == pytest.approx(2 * both / (2 * both + small.sum()), abs=1e-3)


def test_without_body_there_is_nothing_to_compare():
    nothing = outline_agreement(leg(), 0 * LABEL_MAP, LEVELS)
    assert math.isnan(nothing.dice)
    assert math.isnan(mean_outline([nothing]).invisible)
    some = outline_agreement(leg(), LABEL_MAP, LEVELS)
    assert mean_outline([nothing, some]) == some


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="same shape"):
        outline_agreement(leg(), LABEL_MAP[:, 1:], LEVELS)

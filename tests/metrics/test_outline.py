import math

import numpy as np
import pytest

from medusis_tf.errors import UserError
from medusis_tf.metrics.grey_levels import GreyLevels, grey_levels
from medusis_tf.metrics.outline import mean_outline, outline_agreement, picture_body

AIR, INVISIBLE, MUSCLE, FAT = -1.0, -0.85, -0.45, 0.8
LEVELS = GreyLevels(air=-0.9, dark_tissue=-0.68)
DISTANCE = np.hypot(*(np.mgrid[:64, :64] - 31.5))
LABEL_MAP = np.select([DISTANCE < 5, DISTANCE < 18, DISTANCE < 26], [3, 2, 1], 0)[np.newaxis]


def picture(fat=FAT, bone=AIR, noise=0.02, seed=0):
    """A round leg: a ring of fat, muscle, and a bone."""
    greys = np.array([AIR, fat, MUSCLE, bone])
    random = np.random.default_rng(seed)
    return np.maximum(greys[LABEL_MAP] + random.normal(0, noise, LABEL_MAP.shape), -1)


def test_the_body_is_found_with_its_dark_bone():
    body = picture_body(picture())
    assert (body == (LABEL_MAP != 0)).mean() > 0.999


@pytest.mark.parametrize("fat", [INVISIBLE, AIR])
def test_a_grey_that_no_eye_sees_is_no_body(fat):
    found = picture_body(picture(fat=fat), LEVELS.dark_tissue)
    assert (found == (DISTANCE < 18)).mean() > 0.99


def test_a_ring_half_of_which_is_seen():
    half = np.where(np.mgrid[:64, :64][1] < 32, FAT, INVISIBLE)
    image = np.where(LABEL_MAP == 1, half, picture())
    expected = (DISTANCE < 18) | ((DISTANCE < 26) & (half == FAT))
    assert (picture_body(image)[0] == expected).mean() > 0.99


def test_a_perfect_picture_and_a_ring_that_is_not_there():
    perfect = outline_agreement(picture(), LABEL_MAP, LEVELS)
    assert perfect.dice > 0.999
    ring, body = (LABEL_MAP == 1).sum(), (LABEL_MAP != 0).sum()
    bone = (LABEL_MAP == 3).sum()
    assert perfect.painted_as_air == pytest.approx(bone / body)
    assert perfect.invisible == 0
    found = outline_agreement(picture(fat=INVISIBLE), LABEL_MAP, LEVELS)
    assert found.dice == pytest.approx(2 * (body - ring) / (2 * body - ring), abs=0.01)
    assert found.pooled_dice == pytest.approx(found.dice)
    assert found.invisible == pytest.approx(ring / body, abs=0.01)
    found = outline_agreement(picture(fat=AIR), LABEL_MAP, LEVELS)
    assert found.painted_as_air == pytest.approx((ring + bone) / body)


def test_two_legs_count_and_a_speck_does_not():
    image = np.full((1, 64, 64), AIR)
    image[0, 10:30, 5:25] = FAT
    image[0, 10:30, 40:60] = MUSCLE
    expected = image[0] > AIR
    image[0, 50:53, 50:53] = FAT
    np.testing.assert_array_equal(picture_body(image)[0], expected)


def test_pictures_of_nothing_have_no_body():
    random = np.random.default_rng(0)
    flat = np.full((1, 64, 64), -0.3)
    air = -1 + np.abs(random.normal(0, 0.005, (1, 64, 64)))
    assert not picture_body(flat).any()
    assert not picture_body(air).any()
    found = outline_agreement(flat, LABEL_MAP, LEVELS)
    assert found.dice == 0


def test_slices_count_the_same_and_pixels_when_pooled():
    small = np.where(DISTANCE < 8, 1, 0)[np.newaxis]
    label_map = np.concatenate([LABEL_MAP, small, 0 * small])
    images = np.concatenate([picture(), np.full((2, 64, 64), AIR)])
    found = outline_agreement(images, label_map, LEVELS)
    assert found.dice == pytest.approx(0.5, abs=1e-3)
    both = (LABEL_MAP != 0).sum()
    assert found.pooled_dice == pytest.approx(2 * both / (2 * both + small.sum()), abs=1e-3)


def test_without_body_there_is_nothing_to_compare():
    nothing = outline_agreement(picture(), 0 * LABEL_MAP, LEVELS)
    assert math.isnan(nothing.dice)
    assert math.isnan(mean_outline([nothing]).invisible)
    some = outline_agreement(picture(), LABEL_MAP, LEVELS)
    assert mean_outline([nothing, some]) == some


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        outline_agreement(picture(), LABEL_MAP[:, 1:], LEVELS)


def test_levels_lie_between_air_and_muscle():
    image = picture(noise=0.03)
    levels = grey_levels(image[LABEL_MAP != 0], image[LABEL_MAP == 0])
    assert AIR < levels.air < -0.9
    assert -0.85 < levels.dark_tissue < -0.55
    assert grey_levels(image.ravel(), np.empty(0)).air == -1
    with pytest.raises(UserError, match="show nothing"):
        grey_levels(np.zeros(9), np.zeros(9))

import numpy as np
import pytest
from scipy import ndimage, stats
from skimage.measure import regionprops

from medusis_tf.metrics.radiomics import (
    DISTANCES,
    LEVELS,
    NAMES,
    radiomic_features,
)


def features(image, body):
    [row] = radiomic_features(np.asarray(image)[None], np.asarray(body)[None])
    return dict(zip(NAMES, row.tolist(), strict=True))


def blob(seed=0, side=64):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(side, side)), 5)
    body = np.hypot(*(np.mgrid[:side, :side] - side / 2)) < side / 3 + 40 * smooth
    return np.where(body, np.tanh(5 * smooth + rng.normal(0, 0.1, body.shape)), -1), body


def test_each_value_has_a_name_of_its_own():
    assert len(set(NAMES)) == len(NAMES) == 11 + 6 * 3 + 6
    assert len(features(*blob())) == len(NAMES)


def test_intensities_by_hand():
    # Values inside: -1, -0.5, 0, 1; the outside is ignored.
    image = np.full((8, 8), 0.77)
    image[2:4, 2:4] = [[-1, -0.5], [0, 1]]
    body = np.zeros((8, 8), bool)
    body[2:4, 2:4] = True
    found = features(image, body)
    values = np.array([-1, -0.5, 0, 1])
    assert found["intensity/mean"] == -0.125
    assert found["intensity/standard_deviation"] == pytest.approx(np.sqrt(35) / 8)
    assert found["intensity/skewness"] == pytest.approx(stats.skew(values))
    assert found["intensity/kurtosis"] == pytest.approx(stats.kurtosis(values))
    assert found["intensity/entropy"] == 2, "four grey levels, each once"
    assert found["intensity/uniformity"] == 0.25
    assert found["intensity/percentile_10"] == pytest.approx(-0.85)
    assert found["intensity/median"] == -0.25
    assert found["intensity/percentile_90"] == pytest.approx(0.7)
    assert found["intensity/interquartile_range"] == pytest.approx(0.25 + 0.625)
    assert found["intensity/robust_absolute_deviation"] == 0.25


def test_textures_by_hand():
    # Columns of levels 8 and 24 in turn, two pixels wide: neighbours at distance 2 differ by 16.
    columns = np.array([8, 8, 24, 24] * 4)
    image = np.tile((columns + 0.5) / LEVELS * 2 - 1, (16, 1))
    found = features(image, np.ones((16, 16), bool))
    pairs = different = 0
    # A diagonal neighbour at distance 2 is the pixel nearest to (1.41, 1.41).
    for down, right in ((0, 2), (-1, 1), (2, 0), (-1, -1)):
        for row, column in np.ndindex(16, 16):
            other = row + down, column + right
            if min(other) >= 0 and max(other) < 16:
                pairs += 1
                different += columns[column] != columns[other[1]]
    share = different / pairs
    assert found["texture/contrast_2"] == pytest.approx(16**2 * share)
    assert found["texture/dissimilarity_2"] == pytest.approx(16 * share)
    assert found["texture/homogeneity_2"] == pytest.approx(1 - share + share / (1 + 16**2))


def test_a_checkerboard_has_two_kinds_of_pairs():
    checkers = np.indices((32, 32)).sum(axis=0) % 2
    found = features(checkers * 1.0, np.ones((32, 32), bool))
    # At distance 2 all neighbours are equal: half the pairs are bright, half dark.
    assert found["texture/ASM_2"] == pytest.approx(0.5, abs=1e-3)
    assert found["texture/entropy_2"] == pytest.approx(1, abs=1e-3), "bits"
    assert found["texture/contrast_2"] == 0
    assert found["texture/correlation_2"] == pytest.approx(1)


def test_pairs_that_leave_the_body_do_not_count():
    image, body = blob()
    other = np.where(body, image, np.random.default_rng(1).uniform(-1, 1, image.shape))
    assert features(image, body) == features(other, body)


def test_shapes_by_hand():
    body = np.zeros((32, 32), bool)
    body[4:12, 4:20] = True
    found = features(np.zeros((32, 32)), body)
    assert found["shape/area"] == 8 * 16 / 32**2
    assert found["shape/perimeter"] == pytest.approx(2 * (7 + 15) / 32)
    assert (found["shape/extent"], found["shape/solidity"]) == (1, 1)
    assert found["shape/eccentricity"] == pytest.approx(np.sqrt(1 - 63 / 255))
    assert found["shape/largest_part"] == 1
    body[20:24, 4:20] = True
    found = features(np.zeros((32, 32)), body)
    assert found["shape/solidity"] == found["shape/extent"] == pytest.approx(12 / 20)
    assert found["shape/largest_part"] == 2 / 3


def test_a_triangle_fills_half_its_box_and_nearly_all_its_hull():
    body = np.tri(30, dtype=bool)
    found = features(np.zeros((30, 30)), body)
    area = 30 * 31 / 2
    assert found["shape/extent"] == pytest.approx(area / 900)
    # The corners of the steps span a trapezoid less one pixel's half in two corners.
    assert found["shape/solidity"] == pytest.approx(area / (900 - 29**2 / 2))


@pytest.mark.parametrize("seed", range(3))
def test_shapes_agree_with_scikit_image(seed):
    image, body = blob(seed)
    found = features(image, body)
    [region] = regionprops(body.astype(np.uint8))
    assert found["shape/eccentricity"] == pytest.approx(region.eccentricity)
    assert found["shape/extent"] == pytest.approx(region.extent)
    # scikit-image counts the pixels whose centre lies within the hull.
    assert found["shape/solidity"] == pytest.approx(region.solidity, abs=0.02)


def test_the_position_of_the_body_does_not_matter():
    image, body = blob()
    moved = [np.roll(part, (5, -3), axis=(0, 1)) for part in (image, body)]
    np.testing.assert_allclose(
        list(features(*moved).values()), list(features(image, body).values()), rtol=1e-9
    )


def test_no_body_no_row():
    image, body = blob()
    images, bodies = np.stack([image] * 3), np.stack([body, body & False, body])
    assert radiomic_features(images, bodies).shape == (2, len(NAMES))
    assert radiomic_features(images[1:2], bodies[1:2]).shape == (0, len(NAMES))


@pytest.mark.parametrize(
    "body",
    [np.s_[3:4, 5:6], np.s_[3:4, 5:7], np.s_[0:16, 7:8], np.s_[0:16, 0:16], np.s_[::15, ::15]],
    ids=["pixel", "pair", "line", "all", "corners"],
)
def test_degenerate_bodies_and_flat_images_have_finite_features(body):
    mask = np.zeros((16, 16), bool)
    mask[body] = True
    for level in (-1.0, 0.3, 1.0):
        found = features(np.full((16, 16), level, np.float32), mask)
        assert np.isfinite(list(found.values())).all()
        assert found["intensity/mean"] == pytest.approx(level)
        assert found["intensity/uniformity"] == 1


def test_values_beyond_the_range_are_clipped():
    image, body = blob()
    assert features(3 * image, body) == features(np.clip(3 * image, -1, 1), body)


def test_every_distance_is_there():
    assert [name for name in NAMES if "contrast" in name] == [
        f"texture/contrast_{distance}" for distance in DISTANCES
    ]


def test_a_body_of_two_pixels_has_features():
    """The first images of a training show such bodies."""
    image = np.full([1, 32, 32], -1.0)
    image[0, 4, 4:6] = 0.1, 0.3
    (features,) = radiomic_features(image, image > -1)
    assert np.isfinite(features).all()
    assert features[NAMES.index("intensity/mean")] == np.float64(0.2)
    assert features[NAMES.index("intensity/robust_absolute_deviation")] == 0

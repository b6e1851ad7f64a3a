import numpy as np
import pytest

from medusis_tf.appearance.appearance import NUM_QUANTILES, Appearance
from medusis_tf.appearance.labelling import GreyStatistics
from medusis_tf.appearance.painting import known_means, paint_class_quantiles

LEVELS = (np.arange(NUM_QUANTILES) + 0.5) / NUM_QUANTILES


def made_appearance(correlation=(2.0, 1.0)):
    """Air is -1, class 1 uniform in [-0.5, 0.5], class 2 not known."""
    quantiles = np.stack(
        [np.full(NUM_QUANTILES, -1.0), LEVELS - 0.5, np.full(NUM_QUANTILES, np.nan)]
    )
    means = quantiles.mean(axis=1)
    widths = np.tile(np.float32(correlation), (3, 1))
    return Appearance(
        (), quantiles.astype(np.float32), means, means, widths, {}, ("depth",), 0.0, (), {}
    )  # fmt: skip


@pytest.fixture
def label_map():
    label_map = np.ones((6, 48, 48), np.uint8)
    label_map[:, :8] = 0
    return label_map


def test_painted_pixels_have_the_quantiles_of_their_class(label_map):
    image = paint_class_quantiles(label_map, made_appearance((1.0, 0.5)), seed=0)
    assert (image[label_map == 0] == -1).all()
    found = np.quantile(image[label_map == 1], LEVELS)
    np.testing.assert_allclose(found, LEVELS - 0.5, atol=0.06)


def test_the_texture_is_as_smooth_as_asked(label_map):
    image = paint_class_quantiles(label_map, made_appearance((2.0, 0.0)), seed=0)
    statistics = GreyStatistics(1)
    statistics.add(0, image, (label_map == 1).astype(np.float32), np.arange(6))
    in_slice, between = statistics.correlation(0)
    assert in_slice == pytest.approx(2.0, rel=0.15)
    assert between < 0.4


def test_equal_seeds_paint_equal_images_and_others_do_not(label_map):
    appearance = made_appearance()
    first, again, other = (paint_class_quantiles(label_map, appearance, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_a_class_that_is_not_known_looks_like_the_other_foreground():
    appearance = made_appearance()
    assert known_means(appearance)[2] == pytest.approx(0.0, abs=1e-6)
    image = paint_class_quantiles(np.full((2, 16, 16), 2, np.uint8), appearance, seed=0)
    assert np.isfinite(image).all()

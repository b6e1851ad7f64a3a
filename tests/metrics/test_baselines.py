import numpy as np
import pytest
from scipy import ndimage

from medusis_tf.metrics.baselines import (
    NearestSlice,
    _bias,
    learn_class_means,
    paint_class_means,
    paint_gaussian_greys,
    paint_gaussian_mixture,
)

LABELS = np.array([[0, 0], [1, 2]], np.uint8)
IMAGE = np.array([[-1.0, -0.8], [0.2, 0.6]])


def test_means_are_over_the_pixels_of_all_pairs():
    means = learn_class_means([(LABELS, IMAGE), (LABELS[1:], np.array([[0.4, 0.6]]))], 3)
    assert means == pytest.approx([-0.9, 0.3, 0.6])


def test_an_absent_class_gets_the_mean_of_the_foreground():
    assert learn_class_means([(LABELS, IMAGE)], 4)[3] == pytest.approx(0.4)


def test_without_foreground_everything_is_the_mean():
    means = learn_class_means([(np.zeros((2, 2), np.uint8), IMAGE)], 2)
    assert means == pytest.approx([-0.25, -0.25])


def test_painting_with_its_own_means_keeps_flat_regions():
    flat = np.array([-1.0, 0.25, 0.5], np.float32)[LABELS]
    painted = paint_class_means(LABELS, learn_class_means([(LABELS, flat)], 3))
    assert painted.dtype == np.float32
    np.testing.assert_array_equal(painted, flat)


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(ValueError, match="at least one pair"):
        learn_class_means([], 3)
    with pytest.raises(ValueError, match=r"same shape.*\(2, 2\), \(1, 2\)"):
        learn_class_means([(LABELS, IMAGE[1:])], 3)


VOLUME = np.zeros((3, 32, 32), np.uint8)
VOLUME[:, 4:28, 4:28] = 1
VOLUME[:, 10:20, 10:20] = 2


def paint(seed, labels=VOLUME):
    return paint_gaussian_mixture(labels, 4, seed)


def test_range_and_type():
    for seed in range(10):
        image = paint(seed)
        assert image.shape == VOLUME.shape
        assert image.dtype == np.float32
        assert image.min() == -1
        assert image.max() <= 1


def test_the_background_is_black():
    assert (paint(0)[VOLUME == 0] == -1).all()


def test_the_seed_decides():
    np.testing.assert_array_equal(paint(3), paint(3))
    assert (paint(3) != paint(4)).mean() > 0.3


def test_contrasts_are_drawn_at_random():
    darker = [
        paint(seed)[VOLUME == 1].mean() < paint(seed)[VOLUME == 2].mean() for seed in range(60)
    ]
    assert 0.25 < np.mean(darker) < 0.75


def test_classes_differ_in_intensity():
    # The mean difference of two numbers drawn from [0, 1] is a third.
    gaps = [
        abs(paint(seed)[VOLUME == 1].mean() - paint(seed)[VOLUME == 2].mean()) for seed in range(40)
    ]
    assert np.mean(gaps) > 0.3


def test_the_bias_field_is_a_linear_interpolation_of_its_grid():
    shape, seed = (5, 9, 11), 3
    generator = np.random.default_rng(seed)
    coarse = generator.normal(0, generator.uniform(0, 0.5), (4, 4, 4))
    places = np.meshgrid(*(np.linspace(0, 3, side) for side in shape), indexing="ij")
    expected = ndimage.map_coordinates(coarse, places, order=1, mode="nearest")
    np.testing.assert_allclose(_bias(shape, np.random.default_rng(seed)), expected, atol=1e-12)


@pytest.mark.parametrize("count", [1, 2])
def test_short_volumes(count):
    assert np.isfinite(paint(0, VOLUME[:count])).all()


def test_no_body_is_black():
    assert (paint(0, VOLUME & 0) == -1).all()


def discs(radii, centre=(32, 32)):
    rows, columns = np.mgrid[:64, :64]
    distance = np.hypot(rows - centre[0], columns - centre[1])
    return np.stack([distance < radius for radius in radii])


PARTS = {"a": discs([8, 12, 16]), "b": discs([9, 20], (30, 40)), "c": discs([0, 24])}


def nearest():
    return NearestSlice(PARTS.items())


@pytest.mark.parametrize(
    "name, place", [(name, i) for name in PARTS for i in range(len(PARTS[name]))]
)
def test_finds_a_slice_of_the_training_set(name, place):
    assert nearest().find(PARTS[name][place : place + 1]) == [(name, place)]


def test_finds_the_most_similar_slice():
    assert nearest().find(discs([13, 23])) == [("a", 1), ("c", 1)]
    assert nearest().find(discs([19], (30, 41))) == [("b", 1)]


def test_highest_dice_by_brute_force():
    wanted = discs([14], (35, 30))[0]
    scores = {
        (name, place): 2 * (wanted & body).sum() / (wanted.sum() + body.sum())
        for name, part in PARTS.items()
        for place, body in enumerate(part)
    }
    assert nearest().find(wanted[None]) == [max(scores, key=scores.get)]


def test_a_slice_without_body_finds_one_without():
    assert nearest().find(discs([0])) == [("c", 0)]


def test_no_training_slices_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        NearestSlice([])


def test_known_greys_are_painted_around_their_means():
    means, deviations = np.array([-0.9, 0.5, np.nan]), np.array([0.3, 0.05, np.nan])
    images = np.stack([paint_gaussian_greys(VOLUME, means, deviations, seed) for seed in range(60)])
    assert images.dtype == np.float32
    assert images.min() >= -1
    assert images.max() <= 1
    # Far from the borders, which are blurred.
    np.testing.assert_allclose(images[:, :, :1, :1], -0.9, atol=1e-3)
    one, other = images[:, :, 5:7, 14:18].mean((1, 2, 3)), images[:, 1, 15, 15]
    assert one.mean() == pytest.approx(0.5, abs=0.05)
    assert one.std() == pytest.approx(0.1, abs=0.03)
    # A class that is not known may have any grey.
    assert other.std() > 0.4
    np.testing.assert_array_equal(images[3], paint_gaussian_greys(VOLUME, means, deviations, 3))

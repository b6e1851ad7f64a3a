import numpy as np
import pytest
from scipy import ndimage

from medusis_tf.metrics.baselines import _bias, paint_gaussian_mixture

LABELS = np.zeros((3, 32, 32), np.uint8)
LABELS[:, 4:28, 4:28] = 1
LABELS[:, 10:20, 10:20] = 2


def paint(seed, labels=LABELS):
    return paint_gaussian_mixture(labels, 4, seed)


def test_range_and_type():
    for seed in range(10):
        image = paint(seed)
        assert image.shape == LABELS.shape
        assert image.dtype == np.float32
        assert image.min() == -1
        assert image.max() <= 1


def test_the_background_is_black():
    assert (paint(0)[LABELS == 0] == -1).all()


def test_the_seed_decides():
    np.testing.assert_array_equal(paint(3), paint(3))
    assert (paint(3) != paint(4)).mean() > 0.3


def test_contrasts_are_drawn_at_random():
    darker = [
        paint(seed)[LABELS == 1].mean() < paint(seed)[LABELS == 2].mean() for seed in range(60)
    ]
    assert 0.25 < np.mean(darker) < 0.75


def test_classes_are_seen_apart():
    # On average two means that are drawn from [0, 1] are a third apart.
    gaps = [
        abs(paint(seed)[LABELS == 1].mean() - paint(seed)[LABELS == 2].mean()) for seed in range(40)
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
    assert np.isfinite(paint(0, LABELS[:count])).all()


def test_no_body_is_black():
    assert (paint(0, LABELS & 0) == -1).all()

import numpy as np
import pytest

from medusis_tf.metrics.feature_distance import feature_distance, frechet_distance, picture_features
from tests.reference.reference_arrays import cases, reference_arrays

ARRAYS = reference_arrays("activation_distances")
BODY = np.hypot(*(np.mgrid[:64, :64] - 31.5)) < 25


def pictures(count=24, mean=0.0, grain=0.1, seed=0):
    random = np.random.default_rng(seed)
    level = mean + random.normal(0, 0.05, (count, 1, 1))
    return np.where(BODY, level + random.normal(0, grain, (count, 64, 64)), -1)


def features(**changes):
    images = pictures(**changes)
    return picture_features(images, np.broadcast_to(BODY, images.shape))


def test_the_distance_of_normal_distributions_is_the_known_one():
    # In one dimension it is (m1 - m2)^2 + (s1 - s2)^2.
    first, second = np.array([[1.0], [5.0]]), np.array([[10.0], [30.0]])
    expected = (3 - 20) ** 2 + (np.sqrt(8) - np.sqrt(200)) ** 2
    assert frechet_distance(first, second) == pytest.approx(expected)
    random = np.random.default_rng(0)
    many = random.normal(size=(50, 4)) @ random.normal(size=(4, 4))
    assert frechet_distance(many, many) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("case", cases(ARRAYS, "first"))
def test_the_distance_is_that_of_tensorflow_gan(case):
    first, second = (ARRAYS[f"{case}/{name}"].astype(float) for name in ("first", "second"))
    expected = ARRAYS[f"{case}/frechet"]
    assert frechet_distance(first, second) == pytest.approx(float(expected), rel=1e-6)


def test_other_greys_and_other_grain_are_farther_than_other_draws():
    real = features()
    same = feature_distance(features(seed=1), real)
    assert feature_distance(features(seed=1, mean=0.4), real) > 5 * same
    assert feature_distance(features(seed=1, grain=0.3), real) > 5 * same


def test_what_is_outside_the_body_does_not_count():
    images = pictures()
    other = np.where(BODY, images, 0.7)
    bodies = np.broadcast_to(BODY, images.shape)
    np.testing.assert_allclose(picture_features(images, bodies), picture_features(other, bodies))
    assert len(picture_features(images, bodies & (np.arange(24) > 3)[:, None, None])) == 20


def test_too_few_pictures_have_no_distribution():
    with pytest.raises(ValueError, match="two pictures"):
        frechet_distance(np.zeros((1, 3)), np.zeros((5, 3)))

import numpy as np
import pytest

from medusis_tf.metrics.distribution import FeatureSet, compare
from medusis_tf.metrics.frechet import frechet_distance


def features(seed, count=200, mean=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(mean, scale, (count, 4))


def collected(array, capacity=1000):
    found = FeatureSet(array.shape[1], capacity)
    for part in np.array_split(array, 7):
        found.update(part)
    return found


def test_moments_are_those_of_all_and_the_sample_is_bounded():
    array = features(0, 500)
    found = collected(array, capacity=100)
    assert found.count == 500
    np.testing.assert_allclose(found.moments.mean, array.mean(axis=0))
    np.testing.assert_allclose(found.moments.covariance, np.cov(array, rowvar=False))
    assert found.sample.shape == (100, 4)
    assert {tuple(row) for row in found.sample} <= {tuple(row) for row in array}


def test_standardized_is_as_if_the_features_had_been():
    array, mean, scale = features(1, mean=3.0), np.arange(4.0), np.array([1.0, 2, 4, 8])
    found = collected(array).standardized(mean, scale)
    by_hand = collected((array - mean) / scale)
    np.testing.assert_allclose(found.moments.mean, by_hand.moments.mean)
    np.testing.assert_allclose(found.moments.covariance, by_hand.moments.covariance)
    np.testing.assert_allclose(found.sample, by_hand.sample)


def test_the_unit_of_a_feature_does_not_matter_where_features_have_units():
    units = np.array([1.0, 100.0, 0.1, 5.0])
    real, synthetic = features(0, mean=1.0, scale=3.0), features(1, mean=2.0, scale=3.0)
    one = compare(collected(synthetic), collected(real), has_units=True)
    other = compare(collected(synthetic * units), collected(real * units), has_units=True)
    assert other["frechet_distance"] == pytest.approx(one["frechet_distance"], rel=1e-3)
    assert other["kernel_distance"]["mean"] == pytest.approx(
        one["kernel_distance"]["mean"], rel=1e-3
    )
    plain = compare(collected(synthetic * units), collected(real * units), has_units=False)
    assert plain["frechet_distance"] == pytest.approx(
        frechet_distance(collected(synthetic * units).moments, collected(real * units).moments)
    )
    assert plain["frechet_distance"] > 100 * other["frechet_distance"]


def test_too_few_pictures_are_said():
    assert (
        "two pictures"
        in compare(collected(features(0, 1)), collected(features(1)), True)["problem"]
    )
    few = compare(collected(features(0, 4)), collected(features(1)), False)
    assert few["full_rank"] is False
    assert "manifold" not in few
    assert compare(collected(features(0, 6)), collected(features(1)), False)["full_rank"] is True


def test_a_feature_that_never_varies_in_real_images_does_not_drown_the_others():
    real, synthetic = features(0), features(1, mean=1.0)
    apart = compare(collected(synthetic), collected(real), has_units=True)["frechet_distance"]
    real[:, 3] = synthetic[:, 3] = 1.0
    synthetic[0, 3] = 2.0
    found = compare(collected(synthetic), collected(real), has_units=True)["frechet_distance"]
    assert 0.5 * apart < found < 2 * apart

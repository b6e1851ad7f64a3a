import numpy as np
import pytest
from scipy import stats

from medusis_tf.metrics.distribution import FeatureSet, Reservoir, compare
from medusis_tf.metrics.frechet import frechet_distance


def features(seed, count=200, mean=0.0, scale=1.0):
    return np.random.default_rng(seed).normal(mean, scale, (count, 4))


def collected(array, capacity=1000):
    found = FeatureSet(array.shape[1], capacity)
    for part in np.array_split(array, 7):
        found.update(part)
    return found


def test_moments_use_all_features_and_the_sample_is_bounded():
    array = features(0, 500)
    found = collected(array, capacity=100)
    assert found.count == 500
    np.testing.assert_allclose(found.moments.mean, array.mean(axis=0))
    np.testing.assert_allclose(found.moments.covariance, np.cov(array, rowvar=False))
    assert found.sample.shape == (100, 4)
    assert {tuple(row) for row in found.sample} <= {tuple(row) for row in array}


def test_a_set_can_be_standardized_later():
    array, mean, scale = features(1, mean=3.0), np.arange(4.0), np.array([1.0, 2, 4, 8])
    found = collected(array).standardized(mean, scale)
    by_hand = collected((array - mean) / scale)
    np.testing.assert_allclose(found.moments.mean, by_hand.moments.mean)
    np.testing.assert_allclose(found.moments.covariance, by_hand.moments.covariance)
    np.testing.assert_allclose(found.sample, by_hand.sample)


def test_units_of_features_do_not_matter_if_they_have_units():
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


def test_too_few_images_are_reported():
    assert (
        "two images" in compare(collected(features(0, 1)), collected(features(1)), True)["problem"]
    )
    few = compare(collected(features(0, 4)), collected(features(1)), False)
    assert few["full_rank"] is False
    assert "manifold" not in few
    assert compare(collected(features(0, 6)), collected(features(1)), False)["full_rank"] is True


def test_a_constant_feature_does_not_dominate_the_others():
    real, synthetic = features(0), features(1, mean=1.0)
    apart = compare(collected(synthetic), collected(real), has_units=True)["frechet_distance"]
    real[:, 3] = synthetic[:, 3] = 1.0
    synthetic[0, 3] = 2.0
    found = compare(collected(synthetic), collected(real), has_units=True)["frechet_distance"]
    assert 0.5 * apart < found < 2 * apart


def numbers(count):
    return np.arange(count, dtype=np.float64)[:, np.newaxis]


def kept(size, count, seed=0):
    reservoir = Reservoir(size, seed)
    reservoir.update(numbers(count))
    return reservoir.features[:, 0].astype(int)


def test_all_are_kept_in_order_while_there_is_room():
    reservoir = Reservoir(10)
    for piece in np.split(numbers(10), [1, 1, 7]):
        reservoir.update(piece)
    np.testing.assert_array_equal(reservoir.features, numbers(10))
    assert reservoir.count == 10


def test_each_is_kept_as_often_as_any_other():
    counts = np.bincount(np.concatenate([kept(5, 20, seed) for seed in range(2000)]), minlength=20)
    assert counts.sum() == 5 * 2000
    # Of 2000 draws each is in a quarter. Draws without replacement vary less than chi-square says.
    assert stats.chisquare(counts).pvalue > 0.01


def test_nothing_is_kept_twice():
    assert len(set(kept(50, 1000))) == 50


def test_the_division_into_pieces_does_not_matter():
    reservoir = Reservoir(7, seed=3)
    for piece in np.split(numbers(100), [4, 30, 31, 99]):
        reservoir.update(piece)
    np.testing.assert_array_equal(reservoir.features[:, 0], kept(7, 100, seed=3))


def test_the_seed_decides():
    assert kept(5, 100, seed=1).tolist() == kept(5, 100, seed=1).tolist()
    assert kept(5, 100, seed=1).tolist() != kept(5, 100, seed=2).tolist()


def test_kept_features_are_copies():
    features = np.ones((3, 2))
    reservoir = Reservoir(5)
    reservoir.update(features)
    features[:] = 0
    assert (reservoir.features == 1).all()


@pytest.mark.parametrize("offered", [[], [np.empty((0, 4))]])
def test_empty(offered):
    reservoir = Reservoir(5)
    for part in offered:
        reservoir.update(part)
    assert (len(reservoir.features), reservoir.count) == (0, 0)

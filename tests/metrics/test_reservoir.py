import numpy as np
import pytest
from scipy import stats

from medusis_tf.metrics.distribution import Reservoir


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


def test_how_it_is_cut_into_pieces_does_not_matter():
    reservoir = Reservoir(7, seed=3)
    for piece in np.split(numbers(100), [4, 30, 31, 99]):
        reservoir.update(piece)
    np.testing.assert_array_equal(reservoir.features[:, 0], kept(7, 100, seed=3))


def test_the_seed_decides():
    assert kept(5, 100, seed=1).tolist() == kept(5, 100, seed=1).tolist()
    assert kept(5, 100, seed=1).tolist() != kept(5, 100, seed=2).tolist()


def test_what_is_kept_does_not_change_with_what_was_offered():
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

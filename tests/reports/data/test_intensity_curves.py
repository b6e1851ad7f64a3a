import numpy as np
import pytest
from scipy import stats

from medusis_tf.data.shards.manifest import Histogram
from medusis_tf.reports.data.intensity_curves import (
    NUM_BINS,
    distances_from_median,
    raw_curves,
    scaled_shares,
)

RNG = np.random.default_rng(0)


def histogram(values, bins=128):
    counts, edges = np.histogram(values, bins)
    return Histogram(lower=edges[0], upper=edges[-1], counts=counts.tolist())


def test_histograms_on_one_axis_keep_their_voxels_and_their_mean():
    volumes = {f"s{i}": RNG.gamma(3, 50 * (1 + 0.2 * i), 20_000) for i in range(5)}
    curves = raw_curves({name: histogram(values) for name, values in volumes.items()})
    np.testing.assert_allclose(curves.shares.sum(axis=1), 1)
    for shares, values in zip(curves.shares, volumes.values(), strict=True):
        assert shares @ curves.middles == pytest.approx(values.mean(), rel=0.02)


def test_one_bright_volume_does_not_squeeze_the_rest():
    volumes = {f"s{i}": RNG.uniform(0, 100, 5000) for i in range(4)} | {
        "bright": RNG.uniform(0, 60_000, 5000)
    }
    curves = raw_curves({name: histogram(values) for name, values in volumes.items()})
    assert curves.upper < 500
    assert curves.beyond == ("bright",)
    np.testing.assert_allclose(curves.shares.sum(axis=1), 1)


def test_a_constant_volume_is_one_peak():
    constant = Histogram(lower=7.0, upper=7.0, counts=(50, 0, 0))
    shares = raw_curves({"a": constant, "b": histogram(RNG.uniform(0, 10, 1000))}).shares[0]
    assert np.flatnonzero(shares).tolist() == [int(0.7 * NUM_BINS)]
    assert raw_curves({"a": constant}).shares.sum() == 1


def test_scaled_slices_fill_the_bins_from_minus_one_to_one():
    values = np.array([[[-1, -1 + 1e-6, 0.5 / NUM_BINS, 1 - 1e-6, 1]]], np.float32)
    shares = scaled_shares(values)
    # A level alone reaches a bin to each side.
    assert shares[0] == pytest.approx(0.4) and shares[-1] == pytest.approx(0.4)
    near = shares[NUM_BINS // 2 - 1 : NUM_BINS // 2 + 2]
    np.testing.assert_allclose(near, [0.075, 0.1, 0.025], atol=1e-3)
    assert shares.sum() == pytest.approx(1)


def test_scaled_slices_of_many_levels_are_counted_as_they_are():
    values = RNG.normal(0, 0.3, [4, 100, 100]).clip(-1, 1).astype(np.float32)
    counts, _ = np.histogram(values, NUM_BINS, (-1, 1))
    np.testing.assert_allclose(scaled_shares(values), counts / counts.sum(), atol=2e-4)


def test_a_volume_of_few_grey_levels_makes_no_comb():
    values = np.linspace(-1, 1, 130, dtype=np.float32).reshape(1, 10, 13)
    shares = scaled_shares(values)[1:-1]
    np.testing.assert_allclose(shares, shares.mean(), rtol=0.01)


def test_distances_are_wassersteins():
    shares = RNG.dirichlet(np.ones(20), 7)
    middle = np.diff(np.median(np.cumsum(shares, axis=1), axis=0), prepend=0)
    places = np.arange(20)
    for row, distance in zip(shares, distances_from_median(shares), strict=True):
        expected = stats.wasserstein_distance(places, places, row, middle) / 20
        assert distance == pytest.approx(expected)

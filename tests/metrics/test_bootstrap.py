import numpy as np
import pytest
from scipy import stats

from medusis_tf.metrics.measure import (
    LEVEL,
    RESAMPLES,
    interval,
    summarize,
)


def test_by_hand():
    found = summarize({"a": [1.0, 3.0], "b": [5.0]})
    assert found.mean == 3.5, "of the patients' means 2 and 5"
    assert found.standard_deviation == pytest.approx(3 / np.sqrt(2))
    assert found.slice_standard_deviation == 2
    assert (found.patients, found.slices) == (2, 3)


def test_slices_and_patients_without_the_figure_are_left_out():
    with_gaps = summarize({"a": [1.0, np.nan, 3.0], "b": [5.0], "c": [np.nan], "d": []})
    assert with_gaps == summarize({"a": [1.0, 3.0], "b": [5.0]})


def test_the_interval_is_that_of_scipy():
    means = np.random.default_rng(0).exponential(size=23)
    low, high = interval(means)
    expected = stats.bootstrap(
        (means,), np.mean, n_resamples=20_000, confidence_level=LEVEL, method="percentile", rng=1
    ).confidence_interval
    # The error of drawing 2000 resamples: a 2.5 % quantile of them lies within 1 % of ranks.
    spread = means.std() / np.sqrt(len(means))
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.12 * spread)


def test_the_interval_is_of_the_resamples_own_quantiles():
    means = np.array([0.0, 1.0])
    # A resample of two has mean 0, 1/2 or 1, with chances 1/4, 1/2 and 1/4.
    assert interval(means) == (0, 1)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(0)
    inside = [low <= 0 <= high for low, high in (interval(rng.normal(size=40)) for _ in range(400))]
    # A percentile interval of 40 patients is a little short: 93.5 %, give or take 1.2 %.
    assert 0.90 < np.mean(inside) < 0.98


def test_more_slices_of_the_same_patients_do_not_narrow_the_interval():
    values = {"a": [1.0], "b": [2.0], "c": [4.0]}
    few, many = summarize(values), summarize({name: 50 * part for name, part in values.items()})
    assert (few.low, few.high) == (many.low, many.high)
    assert many.slices == 150


def test_the_seed_decides():
    means = np.random.default_rng(0).normal(size=9)
    assert interval(means, seed=1) == interval(means, seed=1) != interval(means, seed=2)
    assert RESAMPLES == 2000


def test_one_patient_has_neither_spread_nor_interval():
    found = summarize({"a": [1.0, 2.0]})
    assert found.mean == 1.5
    assert found.slice_standard_deviation == pytest.approx(np.sqrt(0.5))
    assert np.isnan([found.standard_deviation, found.low, found.high]).all()


@pytest.mark.parametrize("values", [{}, {"a": []}, {"a": [np.nan], "b": [np.nan]}])
def test_nobody_has_the_figure(values):
    found = summarize(values)
    assert np.isnan([found.mean, found.standard_deviation, found.low, found.high]).all()
    assert (found.patients, found.slices) == (0, 0)


def test_an_infinite_value_leaves_no_spread():
    found = summarize({"a": [np.inf, 20.0], "b": [30.0]})
    assert found.mean == np.inf
    assert np.isnan([found.standard_deviation, found.slice_standard_deviation, found.low]).all()

import numpy as np
import pytest
from scipy import stats

from medusis_tf.metrics.measure import (
    LEVEL,
    RESAMPLES,
    PatientValues,
    interval,
    summarize,
)


def test_by_hand():
    found = summarize({"a": [1.0, 3.0], "b": [5.0]})
    assert found.mean == 3.5, "of the patients' means 2 and 5"
    assert found.standard_deviation == pytest.approx(3 / np.sqrt(2))
    assert found.slice_standard_deviation == 2
    assert (found.patients, found.slices) == (2, 3)


def test_slices_and_patients_without_values_are_left_out():
    with_gaps = summarize({"a": [1.0, np.nan, 3.0], "b": [5.0], "c": [np.nan], "d": []})
    assert with_gaps == summarize({"a": [1.0, 3.0], "b": [5.0]})


def test_the_interval_is_that_of_many_more_resamples():
    means = np.random.default_rng(0).exponential(size=23)
    low, high = interval(means)
    expected = stats.bootstrap(
        (means,), np.mean, n_resamples=20_000, confidence_level=LEVEL, method="percentile", rng=1
    ).confidence_interval
    # Monte Carlo error of 2000 resamples.
    spread = means.std() / np.sqrt(len(means))
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.12 * spread)


def test_the_interval_of_two_patients():
    means = np.array([0.0, 1.0])
    # A resample of two has mean 0, 1/2 or 1, with chances 1/4, 1/2 and 1/4.
    assert interval(means) == (0, 1)


def test_the_interval_has_its_nominal_coverage():
    rng = np.random.default_rng(0)
    inside = [low <= 0 <= high for low, high in (interval(rng.normal(size=40)) for _ in range(400))]
    # A percentile interval of 40 patients is a little short: 93.5 ± 1.2 %.
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
def test_without_values_everything_is_nan(values):
    found = summarize(values)
    assert np.isnan([found.mean, found.standard_deviation, found.low, found.high]).all()
    assert (found.patients, found.slices) == (0, 0)


def test_an_infinite_value_leaves_no_spread():
    found = summarize({"a": [np.inf, 20.0], "b": [30.0]})
    assert found.mean == np.inf
    assert np.isnan([found.standard_deviation, found.slice_standard_deviation, found.low]).all()


def test_patients_have_equal_weight():
    values = PatientValues()
    values.add("a", "ssim", [0.2] * 98)
    values.add("b", "ssim", [0.8])
    values.add("b", "ssim", [0.6])
    found = values.summaries()["ssim"]
    assert found["mean"] == pytest.approx((0.2 + 0.7) / 2)
    assert found["standard_deviation"] == pytest.approx(np.std([0.2, 0.7], ddof=1))
    assert (found["patients"], found["slices"]) == (2, 100)
    assert found["low"] == pytest.approx(0.2)
    assert found["high"] == pytest.approx(0.7)
    by_patient = values.summaries(by_patient=True)["ssim"]["by_patient"]
    assert by_patient == pytest.approx({"a": 0.2, "b": 0.7})
    assert "by_patient" not in found


def test_a_slice_without_a_value_is_left_out():
    values = PatientValues()
    values.add("a", "psnr", [10.0, np.nan])
    values.add("b", "psnr", [np.nan])
    found = values.summaries()["psnr"]
    assert (found["mean"], found["patients"], found["slices"]) == (10.0, 1, 1)
    assert np.isnan(found["low"])
    assert values.summaries(by_patient=True)["psnr"]["by_patient"] == {"a": 10.0}


def test_values_of_several_seeds_are_pooled_and_listed_by_seed():
    values = PatientValues()
    for seed, shift in ((3, 0.0), (5, 0.4)):
        values.add("a", "dice", [0.1 + shift, 0.3 + shift], seed)
        values.add("b", "dice", [0.4 + shift, np.nan], seed)
    found = values.summaries()["dice"]
    assert found["by_seed"] == pytest.approx({"3": (0.2 + 0.4) / 2, "5": (0.6 + 0.8) / 2})
    assert found["mean"] == pytest.approx(np.mean([0.4, 0.6]))
    assert (found["patients"], found["slices"]) == (2, 6)


def test_a_seed_without_values_has_no_mean():
    values = PatientValues()
    values.add("a", "dice", [0.5], 0)
    values.add("a", "dice", [np.nan], 1)
    found = values.summaries()["dice"]["by_seed"]
    assert found["0"] == 0.5
    assert np.isnan(found["1"])

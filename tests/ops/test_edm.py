"""EDM: the formulas of table 1 and equation 5 of the paper, by hand."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from medusis_tf.ops.edm import draw_levels, loss_weight, precondition, sampling_levels


def test_the_factors_are_those_of_table_1():
    sigma, data = 0.3, 0.5
    found = precondition(tf.constant([sigma]), tf.constant([data]))
    assert found.skip.numpy().item() == pytest.approx(data**2 / (sigma**2 + data**2))
    assert found.output.numpy().item() == pytest.approx(sigma * data / np.hypot(sigma, data))
    assert found.input.numpy().item() == pytest.approx(1 / np.hypot(sigma, data))
    assert float(found.noise[0]) == pytest.approx(np.log(sigma) / 4)
    weight = loss_weight(tf.constant([sigma]), tf.constant([data]))
    assert weight.numpy().item() == pytest.approx((sigma**2 + data**2) / (sigma * data) ** 2)


def test_each_band_has_its_own_factors():
    sigma, deviations = tf.constant([0.1, 2.0]), tf.constant([1.0, 0.05])
    found = precondition(sigma, deviations)
    assert found.skip.shape == (2, 1, 1, 2)
    for row, level in enumerate(sigma):
        for band, deviation in enumerate(deviations):
            one = precondition(level[None], deviation[None])
            for name in ("skip", "output", "input"):
                value = getattr(found, name)[row, 0, 0, band]
                np.testing.assert_allclose(value, getattr(one, name)[0, 0, 0, 0], rtol=1e-6)


def test_the_input_of_the_network_has_unit_variance():
    """Data and noise are independent, so the variance of their sum is the sum of the variances."""
    rng = np.random.default_rng(0)
    noisy = 0.5 * rng.standard_normal(200_000) + 0.8 * rng.standard_normal(200_000)
    factor = precondition(tf.constant([0.8]), tf.constant([0.5])).input
    assert factor.numpy().item() * noisy.std() == pytest.approx(1, abs=0.01)


def test_levels_are_those_of_equation_5():
    steps, lowest, highest, rho = 5, 0.002, 80.0, 7.0
    expected = [
        (highest ** (1 / rho) + i / (steps - 1) * (lowest ** (1 / rho) - highest ** (1 / rho)))
        ** rho
        for i in range(steps)
    ]
    np.testing.assert_allclose(sampling_levels(steps, lowest, highest), [*expected, 0], rtol=1e-5)


def test_one_step_leads_from_the_highest_level_to_0():
    np.testing.assert_array_equal(sampling_levels(1, 0.02, 0.5), np.array([0.5, 0], np.float32))


def test_training_levels_follow_the_limited_normal_distribution():
    uniform = (np.arange(20_000) + 0.5) / 20_000
    drawn = np.log(draw_levels(tf.constant(uniform), -1.6, 1.2, 0.02, 0.8))
    ends = (np.log([0.02, 0.8]) + 1.6) / 1.2
    expected = stats.truncnorm(*ends, loc=-1.6, scale=1.2)
    assert stats.kstest(drawn, expected.cdf).statistic < 1e-3


def test_training_levels_stay_within_their_limits():
    drawn = draw_levels(tf.constant([0.0, 1 - 1e-7]), -1.6, 1.2, 0.02, 0.8).numpy()
    assert drawn.min() >= 0.02 and drawn.max() <= 0.8

"""The sampler, on data whose perfect denoiser is known."""

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.methods.diffusion.sampling import sample
from medusis_tf.ops.edm import sampling_levels

MEAN, DEVIATION = 0.3, 0.2


def denoise_normal(values, level):
    """The posterior mean of normal data with noise, `(m s^2 + x d^2) / (s^2 + d^2)`."""
    noise, data = tf.square(level), DEVIATION**2
    return (MEAN * noise + values * data) / (noise + data)


def no_draw(step):
    raise AssertionError("there is no churn")


def normal(shape, seed):
    return tf.random.stateless_normal(shape, [seed, 0])


def test_one_step_is_the_estimate_of_the_denoiser():
    start = normal([100], 0)
    found = sample(denoise_normal, start, sampling_levels(1, 0.02, 0.5), 0, no_draw)
    np.testing.assert_array_equal(found, denoise_normal(start, tf.constant(0.5)))


def test_two_steps_are_heuns_formula():
    start = normal([100], 1).numpy().astype(np.float64)
    high, low, _ = sampling_levels(2, 0.1, 0.5)
    slope = (start - denoise_normal(start, high)) / high
    ahead = start + (low - high) * slope
    second = (ahead - denoise_normal(ahead, low)) / low
    expected = denoise_normal(start + (low - high) * (slope + second) / 2, low)
    found = sample(
        denoise_normal, tf.constant(start, tf.float32), np.array([high, low, 0]), 0, no_draw
    )
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("churn", [0, 20])
def test_noise_becomes_the_distribution_of_the_data(churn):
    start = 80 * normal([40_000], 2)
    levels = sampling_levels(80, 0.002, 80)
    found = sample(
        denoise_normal,
        start,
        levels,
        churn,
        lambda step: tf.random.stateless_normal([40_000], tf.stack([step, 7])),
    ).numpy()
    assert found.mean() == pytest.approx(MEAN, abs=0.005)
    assert found.std() == pytest.approx(DEVIATION, rel=0.03)


def test_errors_fall_with_the_square_of_the_steps():
    """The exact path keeps `(x - m) / sqrt(d^2 + s^2)`; Heun's method is of second order."""
    start = 0.5 * normal([1000], 3)
    low = 0.1
    scale = np.hypot(DEVIATION, low) / np.hypot(DEVIATION, 0.5)
    at_low = MEAN + (start - MEAN) * scale
    exact = denoise_normal(at_low, tf.constant(low))
    errors = [
        float(
            tf.reduce_max(
                tf.abs(
                    sample(denoise_normal, start, sampling_levels(steps, low, 0.5), 0, no_draw)
                    - exact
                )
            )
        )
        for steps in (5, 9, 17)
    ]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.3)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.3)

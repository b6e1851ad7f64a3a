import math

import numpy as np
import pytest

from medusis_tf.errors import UserError
from medusis_tf.serving.noises import NoiseChoice, between
from tests.serving.test_metadata import metadata


class Painter:
    """Noise of a seed: numbers that tell the seed."""

    def draw_noise(self, seed, truncation=math.inf):
        return np.full(3, min(seed, truncation), np.float32)


def drawn(choice):
    return [
        [noise.tolist()[0] for noise in choice.draw(Painter(), n)] for n in range(choice.samples)
    ]


def test_samples_have_successive_seeds():
    assert drawn(NoiseChoice(seed=5, samples=3)) == [[5], [6], [7]]
    assert drawn(NoiseChoice(seed=5, samples=2, mean_of=3)) == [[5, 6, 7], [8, 9, 10]]
    assert drawn(NoiseChoice(seed=5, truncation=2.0)) == [[2]]


def test_an_interpolation_starts_and_ends_at_its_seeds():
    choice = NoiseChoice(samples=3, interpolate=(2, 4))
    (first,), (middle,), (last,) = drawn(choice)
    assert (first, last) == (2, 4)
    assert middle == pytest.approx(6 / math.sqrt(2))
    assert [choice.record(n)["blend"] for n in range(3)] == [0, 0.5, 1]


@pytest.mark.parametrize("blend", [0.0, 0.3, 0.5, 1.0])
def test_noise_between_two_noises_is_normal_too(blend):
    first, last = np.random.default_rng(0).normal(size=(2, 100_000)).astype(np.float32)
    mixed = between(first, last, blend)
    assert mixed.dtype == np.float32
    assert (mixed.mean(), mixed.std()) == pytest.approx((0, 1), abs=0.01)
    assert np.abs(between(first.clip(-1, 1), last.clip(-1, 1), blend, 1.0)).max() <= 1
    assert (between(0 * first, 0 * last, blend, 0.0) == 0).all()


def test_between_a_noise_and_itself_is_that_noise():
    noise = np.random.default_rng(0).normal(size=8).astype(np.float32)
    np.testing.assert_array_equal(between(noise, noise, 0.5), noise)


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(UserError, match="needs --samples 2"):
        NoiseChoice(interpolate=(1, 2))
    with pytest.raises(UserError, match="leave out --seed"):
        NoiseChoice(samples=2, interpolate=(1, 2), seed=3)
    with pytest.raises(UserError, match="leave out --mean"):
        NoiseChoice(samples=2, interpolate=(1, 2), mean_of=2)
    with pytest.raises(UserError, match="two different seeds"):
        NoiseChoice(samples=2, interpolate=(1, 1))
    with pytest.raises(UserError, match="seeds must be from 0"):
        NoiseChoice(seed=2**31 - 2, samples=3)
    with pytest.raises(UserError, match="has no noise"):
        NoiseChoice(mean_of=2).check(metadata(noise_shape=(0,)))
    with pytest.raises(UserError, match="--interpolate is not for"):
        choice = NoiseChoice(samples=2, interpolate=(1, 2))
        choice.check(metadata(config={"method": "diffusion"}))

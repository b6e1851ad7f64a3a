import numpy as np
import pytest

from medusis_tf.metrics.diversity import noise_spread

BODY = np.zeros((3, 32, 32), bool)
BODY[:2, 8:24, 8:24] = True


def images(by_noise, by_slice):
    """Flat bodies whose brightness in [0, 1] is a sum of two terms; the third has no body."""
    levels = np.add.outer(by_noise, [*by_slice, 0.9])[..., None, None]
    return np.where(BODY, 2 * levels - 1, -1.0)


def test_brightness_spreads_over_noises_and_over_slices():
    found = noise_spread(images([0.2, 0.4], [0.0, 0.1]), BODY)
    assert found.brightness_over_noises == pytest.approx(0.1)
    assert found.brightness_over_slices == pytest.approx(0.05)
    assert found.pairwise_distance == pytest.approx(0.2)


def test_one_noise_has_no_spread_over_noises():
    found = noise_spread(images([0.2], [0.0, 0.1]), BODY)
    assert (found.brightness_over_noises, found.pairwise_distance) == (0, 0)


def test_a_body_is_needed():
    with pytest.raises(ValueError, match="at least one slice with a body"):
        noise_spread(images([0.2], [0, 0]), BODY & False)

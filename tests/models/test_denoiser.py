"""The denoiser: the contract of every network, its preconditioning, its levels."""

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.layers.denoiser_blocks import DenoiserBlock, NoiseLevelEmbedding
from medusis_tf.models.denoiser_sections import UNetDenoiserConfig
from medusis_tf.models.denoisers import UNetDenoiser
from tests.layer_checks import check_contract


def random(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def test_the_denoiser_keeps_the_contract(tmp_path):
    def make(**options):
        return UNetDenoiser(1, 3, base_channels=8, num_levels=2, num_blocks=1, **options)

    sigma = np.array([0.1, 0.5], np.float32)
    inputs = (random(2, 8, 8, 4), sigma, random(2, 8, 8, 3))
    check_contract(make, *inputs, output_shape=(2, 8, 8, 4), tmp_path=tmp_path)


def test_the_layers_keep_the_contract(tmp_path):
    check_contract(
        lambda **options: DenoiserBlock(16, **options),
        random(2, 8, 8, 8),
        random(2, 4),
        output_shape=(2, 8, 8, 16),
        tmp_path=tmp_path,
    )
    check_contract(
        lambda **options: NoiseLevelEmbedding(8, **options),
        random(2),
        output_shape=(2, 8),
        tmp_path=tmp_path,
    )


def test_a_new_denoiser_returns_its_share_of_the_input():
    denoiser = UNetDenoiserConfig(base_channels=8, num_levels=2, num_blocks=1).build(1, 0)
    denoiser.deviations.assign([1.0, 0.5, 0.2, 0.1])
    bands, sigma = random(1, 8, 8, 4), 0.5
    variances = np.square([1.0, 0.5, 0.2, 0.1])
    expected = bands * variances / (variances + sigma**2)
    np.testing.assert_allclose(denoiser(bands, tf.constant([sigma])), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("bands", "condition"),
    [((1, 8, 8, 3), (1, 8, 8, 3)), ((1, 7, 8, 4), (1, 7, 8, 3)), ((1, 8, 8, 4), None)],
)
def test_what_does_not_fit_is_refused(bands, condition):
    denoiser = UNetDenoiserConfig(base_channels=8, num_levels=2, num_blocks=1).build(1, 3)
    with pytest.raises(ValueError, match="Received: bands of shape"):
        condition = None if condition is None else random(*condition)
        denoiser(random(*bands), tf.constant([0.5]), condition)


def test_sizes_are_checked_when_the_configuration_is_read():
    section = UNetDenoiserConfig(num_levels=3)
    section.check_image_size((64, 72))
    with pytest.raises(ValueError, match="divisible by 8"):
        section.check_image_size((64, 68))
    with pytest.raises(ValueError, match="multiple of 8"):
        UNetDenoiserConfig(base_channels=12)

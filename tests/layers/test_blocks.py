import numpy as np
import pytest

from medusis_tf.layers.discriminator_blocks import DiscriminatorBlock
from medusis_tf.layers.generator_blocks import SPADEBlock, WaveletBlock
from medusis_tf.layers.unet_blocks import DecoderBlock, EncoderBlock
from tests.layer_checks import check_contract


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def draw_labels(height, width):
    ids = np.random.default_rng(1).integers(3, size=(2, height, width))
    return np.eye(3, dtype="float32")[ids]


@pytest.mark.parametrize("filters", [8, 12])
def test_spade_block_contract(filters, tmp_path):
    check_contract(
        lambda **kwargs: SPADEBlock(filters, spade_channels=6, noise_dim=5, **kwargs),
        draw(2, 4, 6, 12),
        draw_labels(4, 6),
        draw(2, 5),
        output_shape=(2, 4, 6, filters),
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize("filters", [8, 12])
def test_wavelet_block_contract(filters, tmp_path):
    check_contract(
        lambda **kwargs: WaveletBlock(filters, spade_channels=6, noise_dim=5, **kwargs),
        draw(2, 4, 6, 12),
        draw_labels(8, 12),
        draw(2, 5),
        output_shape=((2, 4, 6, filters), (2, 4, 6, filters)),
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize("filters", [5, 7])
@pytest.mark.parametrize("activate_first", [True, False])
def test_encoder_block_contract(filters, activate_first, tmp_path):
    check_contract(
        lambda **kwargs: EncoderBlock(filters, activate_first, **kwargs),
        draw(2, 4, 6, 5),
        output_shape=(2, 2, 3, filters),
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize("filters", [5, 7])
def test_decoder_block_contract(filters, tmp_path):
    check_contract(
        lambda **kwargs: DecoderBlock(filters, **kwargs),
        draw(2, 2, 3, 5),
        output_shape=(2, 4, 6, filters),
        tmp_path=tmp_path,
    )


def test_discriminator_block_contract(tmp_path):
    check_contract(
        lambda **kwargs: DiscriminatorBlock(7, **kwargs),
        draw(2, 8, 12, 5),
        output_shape=(2, 4, 6, 7),
        tmp_path=tmp_path,
    )

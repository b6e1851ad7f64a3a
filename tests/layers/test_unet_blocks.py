import numpy as np
import pytest

from medusis_tf.layers.unet_blocks import DecoderBlock, EncoderBlock
from tests.layer_checks import check_contract


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


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

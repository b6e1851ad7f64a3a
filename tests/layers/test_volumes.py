"""The layers with rank 3: contracts, and equality with the layers of images."""

import numpy as np
import pytest

from medusis_tf.layers.discriminator_blocks import (
    DiscriminatorBlock,
    MinibatchStandardDeviation,
    ResidualDiscriminatorBlock,
)
from medusis_tf.layers.equalized import EqualizedConv
from medusis_tf.layers.generator_blocks import SPADEBlock, WaveletBlock
from medusis_tf.layers.label_conv import LabelConv
from medusis_tf.layers.pixel_noise import PixelNoise
from medusis_tf.layers.rank import check_attention, check_rank
from medusis_tf.layers.spade import SPADE
from medusis_tf.layers.spectral_conv import SpectralConv
from medusis_tf.layers.transformer_blocks import TransformerBlock, TransformerStage
from medusis_tf.layers.unet_blocks import DecoderBlock, EncoderBlock
from tests.layer_checks import check_contract
from tests.middle_plane import copy_to_middle_plane, in_each_slice

SIDES = (2, 4, 6)


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def draw_labels(*sides):
    return np.eye(3, dtype="float32")[np.random.default_rng(1).integers(3, size=(2, *sides))]


# Layer, its arguments, its inputs for given sides, and the sides of its output as a multiple.
CASES = {
    "spectral": (SpectralConv, {"filters": 6}, ["features"], 1),
    "spectral halve": (SpectralConv, {"filters": 6, "resample": "halve"}, ["features"], 0.5),
    "spectral double": (SpectralConv, {"filters": 6, "resample": "double"}, ["features"], 2),
    "spectral reflect": (SpectralConv, {"filters": 6, "padding": "reflect"}, ["features"], 1),
    "equalized": (EqualizedConv, {"filters": 6}, ["features"], 1),
    "equalized strided": (EqualizedConv, {"filters": 6, "strides": 2}, ["features"], 0.5),
    "label": (LabelConv, {"filters": 6, "noise_dim": 5}, ["labels", "noise"], 1),
    "label class": (LabelConv, {"filters": 6, "noise_dim": 5}, ["labels", "class noise"], 1),
    "spade": (SPADE, {"noise_dim": 5}, ["features", "labels", "noise"], 1),
    "encoder": (EncoderBlock, {"filters": 6}, ["features"], 0.5),
    "decoder": (DecoderBlock, {"filters": 6}, ["features"], 2),
    "spade block": (
        SPADEBlock,
        {"filters": 6, "noise_dim": 5, "sparse": False, "spade_channels": 4},
        ["features", "labels", "noise"],
        1,
    ),
    "spade block class": (
        SPADEBlock,
        {"filters": 6, "noise_dim": 5, "sparse": False, "padding": "reflect"},
        ["features", "labels", "class noise"],
        1,
    ),
    "discriminator": (DiscriminatorBlock, {"filters": 6}, ["features"], 0.5),
    "residual discriminator": (ResidualDiscriminatorBlock, {"filters": 6}, ["features"], 0.5),
}


def inputs_of(kinds, sides):
    arrays = {
        "features": draw(2, *sides, 8),
        "labels": draw_labels(*sides),
        "noise": draw(2, 5),
        "class noise": draw(2, 3, 5),
    }
    return [arrays[kind] for kind in kinds]


@pytest.mark.parametrize("case", CASES)
def test_contract(case, tmp_path):
    layer, arguments, kinds, factor = CASES[case]
    inputs = inputs_of(kinds, SIDES)
    filters = 6 if "filters" in arguments else 8
    check_contract(
        lambda **kwargs: layer(**arguments, rank=3, **kwargs),
        *inputs,
        output_shape=(2, *(int(side * factor) for side in SIDES), filters),
        tmp_path=tmp_path,
    )


def test_contract_of_layers_without_a_rank(tmp_path):
    check_contract(
        MinibatchStandardDeviation,
        draw(4, *SIDES, 5),
        output_shape=(4, *SIDES, 6),
        tmp_path=tmp_path,
    )
    check_contract(
        PixelNoise, draw(2, *SIDES, 5), draw(2, 4), output_shape=(2, *SIDES, 5), tmp_path=tmp_path
    )


def test_contract_of_the_wavelet_block(tmp_path):
    check_contract(
        lambda **kwargs: WaveletBlock(
            8, spade_channels=4, noise_dim=5, sparse=False, rank=3, **kwargs
        ),
        draw(2, *SIDES, 16),
        draw_labels(*(2 * side for side in SIDES)),
        draw(2, 5),
        output_shape=((2, *SIDES, 8), (2, *SIDES, 8)),
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize("case", CASES)
def test_kernels_in_the_middle_plane_convolve_each_slice_as_an_image(case):
    layer, arguments, kinds, factor = CASES[case]
    flat, deep = layer(**arguments), layer(**arguments, rank=3)
    images = inputs_of(kinds, (8, 12))
    depth = 8
    volumes = [
        array if "noise" in kind else in_each_slice(array, depth)
        for kind, array in zip(kinds, images, strict=True)
    ]
    if factor == 1:  # slices may differ
        volumes = [
            array if "noise" in kind else array * (np.arange(depth) % 3 + 1)[:, None, None, None]
            for kind, array in zip(kinds, volumes, strict=True)
        ]
    flat(*images)
    deep(*volumes)
    for weight in flat.trainable_weights:
        weight.assign(weight + 0.1 * np.random.default_rng(4).standard_normal(weight.shape))
    copy_to_middle_plane(flat, deep, equalized="equal" in case or "discriminator" in case)
    outputs = deep(*volumes).numpy()
    # The blur of the discriminators has zeros above and below the volume.
    margin = 1 if "discriminator" in case else 0
    for number in range(margin, outputs.shape[1] - margin):
        place = int(number / factor)
        slices = [
            array if "noise" in kind else array[:, place]
            for kind, array in zip(kinds, volumes, strict=True)
        ]
        np.testing.assert_allclose(outputs[:, number], flat(*slices), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_a_configuration_of_earlier_versions_is_one_of_images(case):
    layer, arguments, *_ = CASES[case]
    config = layer(**arguments).get_config()
    assert config.pop("rank") == 2
    assert layer.from_config(config).get_config() == {**config, "rank": 2}


@pytest.mark.parametrize("case", CASES)
def test_another_rank_is_rejected(case):
    layer, arguments, *_ = CASES[case]
    with pytest.raises(ValueError, match=r"rank must be 2 .* or 3 .*Received: rank=1"):
        layer(**arguments, rank=1)


def test_volumes_have_no_sparse_label_maps_and_no_attention():
    check_attention(check_rank(2))
    for block in (SPADEBlock, WaveletBlock):
        with pytest.raises(ValueError, match="Pass sparse=False"):
            block(8, rank=3)
    for block in (TransformerBlock, TransformerStage):
        with pytest.raises(ValueError, match="Attention is for images only"):
            block(8, rank=3, sparse=False)

"""The networks with rank 3: contracts, sizes, equality with networks of images, and refusals."""

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.losses.adversarial import r1_penalty
from medusis_tf.models.denoiser_sections import UNetDenoiserConfig
from medusis_tf.models.discriminator_sections import (
    EnsembleDiscriminatorConfig,
    PatchDiscriminatorConfig,
    ResidualDiscriminatorConfig,
    WaveletDiscriminatorConfig,
)
from medusis_tf.models.discriminators.patch import PatchDiscriminator
from medusis_tf.models.discriminators.residual import ResidualDiscriminator
from medusis_tf.models.discriminators.wavelet import WaveletDiscriminator
from medusis_tf.models.generators.oasis import OASISGenerator
from medusis_tf.models.generators.transformer import TransformerGenerator
from medusis_tf.models.generators.wavelet import WaveletGenerator
from medusis_tf.models.image_sizes import is_whole_image_size
from medusis_tf.models.sections import (
    OASISGeneratorConfig,
    TransformerGeneratorConfig,
    UNetSegmenterConfig,
    WaveletGeneratorConfig,
)
from medusis_tf.models.segmenters.unet import UNetSegmenter
from tests.layer_checks import check_contract
from tests.middle_plane import copy_to_middle_plane, in_each_slice

GENERATORS = [OASISGenerator, WaveletGenerator]
DISCRIMINATORS = [WaveletDiscriminator, ResidualDiscriminator, PatchDiscriminator]
SMALL = {"base_channels": 2, "noise_dim": 5, "num_blocks": 2, "spade_channels": 4}
SIDES = (4, 8, 12)


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def draw_labels(*sides):
    return np.eye(4, dtype="float32")[np.random.default_rng(1).integers(4, size=(2, *sides))]


def make_generator(network, **settings):
    return network(4, **{**SMALL, "rank": 3, "sparse": False, **settings})


def settle(network, *inputs):
    """Give a network other weights, and the spectral norms and statistics of them."""
    for weight in network.trainable_weights:
        weight.assign(weight + 0.1 * draw(*weight.shape))
    for _ in range(10):
        network(*inputs, training=True)


@pytest.mark.parametrize("network", GENERATORS)
def test_generator_contract(network, tmp_path):
    check_contract(
        lambda **kwargs: make_generator(network, **kwargs),
        draw_labels(*SIDES),
        draw(2, 5),
        output_shape=(2, *SIDES, 1),
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize("network", GENERATORS)
@pytest.mark.parametrize(
    "settings",
    [
        {"class_noise": True, "padding": "reflect"},
        {"pixel_noise": True, "upsampling": "linear", "image_channels": 2, "noise_scale": 0.5},
        {"noise_dim": 0, "air_background": True},
    ],
    ids=["class noise", "pixel noise", "no noise"],
)
def test_generators_with_an_unknown_size(network, settings):
    generator = make_generator(network, **settings)
    one_hot, shape = draw_labels(*SIDES), generator.noise_shape
    noise = [] if shape is None else [draw(2, *shape)]
    expected = generator(one_hot, *noise)
    specs = [tf.TensorSpec([None] * 4 + [4]), *(tf.TensorSpec([None, *shape]) for _ in noise)]
    traced = tf.function(lambda *inputs: generator(*inputs), specs)
    np.testing.assert_allclose(traced(one_hot, *noise), expected, atol=1e-6)
    assert expected.shape == (2, *SIDES, generator.image_channels)
    if generator.air_background:
        assert set(expected[one_hot[..., 0] > 0].numpy().ravel()) == {-1.0}


@pytest.mark.parametrize(
    "settings",
    [{}, {"class_noise": True}, {"padding": "reflect", "upsampling": "linear"}],
    ids=["nearest", "class noise", "reflect and linear"],
)
def test_a_generator_of_middle_planes_paints_each_slice_as_an_image(settings):
    images = OASISGenerator(4, **{**SMALL, "num_blocks": 3, **settings})
    volumes = make_generator(OASISGenerator, num_blocks=3, **settings)
    noise = draw(2, *images.noise_shape)
    one_hot = draw_labels(8, 12)
    images(one_hot, noise)
    volumes(in_each_slice(one_hot, 4), noise)
    settle(images, one_hot, noise)
    copy_to_middle_plane(images, volumes)
    expected = in_each_slice(images(one_hot, noise), 4)
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(volumes(in_each_slice(one_hot, 4), noise), expected, atol=1e-4)


def test_a_segmenter_of_middle_planes_segments_each_slice_as_an_image():
    flat, deep = (UNetSegmenter(4, base_channels=2, num_levels=3, rank=rank) for rank in (2, 3))
    images = draw(2, 16, 24, 1)
    flat(images)
    deep(in_each_slice(images, 8))
    settle(flat, images)
    copy_to_middle_plane(flat, deep)
    expected = in_each_slice(flat(images), 8)
    np.testing.assert_allclose(deep(in_each_slice(images, 8)), expected, atol=1e-3, rtol=1e-3)


def test_a_patch_discriminator_of_middle_planes_classifies_each_slice_as_an_image():
    flat, deep = (
        PatchDiscriminator(size, base_channels=2, num_strided=2) for size in ((16, 24), (8, 16, 24))
    )
    images = draw(2, 16, 24, 1)
    flat(images)
    deep(in_each_slice(images, 8))
    copy_to_middle_plane(flat, deep, equalized=True)
    expected = in_each_slice(flat(images), 2)
    np.testing.assert_allclose(deep(in_each_slice(images, 8)), expected, atol=1e-5)


@pytest.mark.parametrize("network", DISCRIMINATORS)
def test_discriminator_contract(network, tmp_path):
    check_contract(
        lambda **kwargs: network((8, 16, 8), base_channels=4, max_channels=8, **kwargs),
        draw(4, 8, 16, 8, 1),
        output_shape=(4, 1, 2, 1) if network is PatchDiscriminator else (4,),
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize("network", DISCRIMINATORS)
def test_the_r1_penalty_has_a_gradient_for_each_kernel(network):
    discriminator = network((8, 16, 8), base_channels=4, max_channels=8)
    discriminator.build((None, 8, 16, 8, 1))
    kernels = [weight for weight in discriminator.trainable_variables if weight.name == "kernel"]
    with tf.GradientTape() as tape:
        penalty = r1_penalty(discriminator, draw(2, 8, 16, 8, 1))
    assert penalty > 0
    assert all(np.any(gradient) for gradient in tape.gradient(penalty, kernels))


def test_segmenter_contract(tmp_path):
    check_contract(
        lambda **kwargs: UNetSegmenter(4, base_channels=2, num_levels=2, rank=3, **kwargs),
        draw(2, 4, 8, 12, 1),
        output_shape=(2, 4, 8, 12, 5),
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize(
    ("size", "fits"),
    [
        ((32, 96, 96), True),
        ((96, 96, 32), True),
        ((8, 10, 18), True),
        ((48, 48, 48), False),
        ((4, 64, 64), False),
        ((32, 96, 100), False),
        ((32, 100, 96), False),
    ],
)
def test_sizes_of_whole_volumes(size, fits):
    assert is_whole_image_size(size) == fits
    if not fits:
        with pytest.raises(ValueError, match="short side that is a power of two"):
            WaveletDiscriminatorConfig().check_image_size(size)


def test_discriminators_of_the_size_of_a_volume_halve_its_short_side_to_four():
    for network in (WaveletDiscriminator, ResidualDiscriminator):
        discriminator = network((96, 96, 32), base_channels=1, max_channels=1)
        assert discriminator.features(tf.zeros([1, 96, 96, 32, 1]))[-1].shape == (1, 12, 12, 4, 1)


def test_sections_build_networks_of_volumes():
    generators = [
        OASISGeneratorConfig(name="oasis", spade="dense", **SMALL),
        WaveletGeneratorConfig(name="wavelet", class_noise=True, **SMALL),
    ]
    for section in generators:
        section.check_image_size((8, 16, 24))
        generator = section.build(4, 1, synchronized=False, rank=3)
        assert (generator.rank, generator.sparse, generator.built) == (3, False, True)
        assert section.build(4, 1, synchronized=False).rank == 2
        with pytest.raises(ValueError, match="sides divisible by"):
            section.check_image_size((9, 16, 24))
    segmenter = UNetSegmenterConfig(base_channels=2, num_levels=2).build(4, 1, rank=3)
    assert segmenter(tf.zeros([1, 4, 8, 12, 1])).shape == (1, 4, 8, 12, 5)
    sizes = {"base_channels": 2, "max_channels": 4}
    ensemble = EnsembleDiscriminatorConfig(
        name="ensemble",
        members=[
            PatchDiscriminatorConfig(name="patch", **sizes),
            ResidualDiscriminatorConfig(name="residual", **sizes),
        ],
    )
    ensemble.check_image_size((8, 16, 16))
    patches, whole = ensemble.build((8, 16, 16), 1)(tf.zeros([2, 8, 16, 16, 1]))
    assert (patches.shape, whole.shape) == ((2, 1, 2, 2), (2,))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (OASISGeneratorConfig(name="oasis", spade="sparse"), "spade: sparse is for images"),
        (OASISGeneratorConfig(name="oasis", attention=[4]), "attention is for images"),
        (WaveletGeneratorConfig(name="wavelet", attention=[4]), "attention is for images"),
        (TransformerGeneratorConfig(name="transformer"), "transformer generator is for images"),
    ],
)
def test_settings_of_images_are_refused_for_volumes(section, message):
    section.check_image_size((64, 64))
    with pytest.raises(ValueError, match=f"two sides, since .*{message}, not for volumes"):
        section.check_image_size((64, 64, 64))
    with pytest.raises(ValueError, match=f"{message}, not for volumes. Received: rank=3"):
        section.build(4, 1, synchronized=False, rank=3)


def test_the_denoiser_is_refused_for_volumes():
    with pytest.raises(ValueError, match="two sides, since the denoiser is for images"):
        UNetDenoiserConfig().check_image_size((64, 64, 64))


@pytest.mark.parametrize("network", [OASISGenerator, WaveletGenerator, TransformerGenerator])
def test_networks_refuse_what_volumes_do_not_have(network):
    with pytest.raises(ValueError, match="Pass sparse=False"):
        network(4, rank=3)
    with pytest.raises(ValueError, match="Attention is for images only"):
        network(4, rank=3, sparse=False, attention=[4])
    with pytest.raises(ValueError, match="rank must be 2"):
        network(4, rank=4)


def test_a_transformer_of_volumes_is_refused():
    with pytest.raises(ValueError, match="Attention is for images only"):
        TransformerGenerator(4, rank=3, sparse=False)


def test_inputs_of_another_rank_are_rejected():
    with pytest.raises(ValueError, match="rank=3: one_hot needs 5 axes"):
        make_generator(OASISGenerator)(draw_labels(8, 12), draw(2, 5))
    with pytest.raises(ValueError, match="3 sides"):
        UNetSegmenter(4, rank=3)(draw(2, 64, 64, 1))
    with pytest.raises(ValueError, match="image_size"):
        PatchDiscriminator((8, 16, 16))(draw(2, 16, 16, 1))
    with pytest.raises(ValueError, match="rank must be 2"):
        PatchDiscriminator((8, 8, 16, 16))


@pytest.mark.parametrize("network", [*GENERATORS, TransformerGenerator, UNetSegmenter])
def test_a_configuration_of_earlier_versions_is_one_of_images(network):
    config = network(4).get_config()
    assert config.pop("rank") == 2
    assert network.from_config(config).get_config() == {**config, "rank": 2}

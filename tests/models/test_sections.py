import inspect

import pytest
import tensorflow as tf
from pydantic import TypeAdapter

from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import load_config, save_config
from medusis_tf.models.choices import DiscriminatorConfig
from medusis_tf.models.discriminator_sections import (
    PatchDiscriminatorConfig,
    ResidualDiscriminatorConfig,
    WaveletDiscriminatorConfig,
)
from medusis_tf.models.sections import (
    OASISGeneratorConfig,
    TransformerGeneratorConfig,
    UNetSegmenterConfig,
    WaveletGeneratorConfig,
)
from medusis_tf.models.segmenters.unet import UNetSegmenter
from tests.training.tiny_experiment import tiny_experiment

DISCRIMINATORS = ["wavelet", "residual", "patch"]
SECTIONS = [
    OASISGeneratorConfig(name="oasis"),
    WaveletGeneratorConfig(name="wavelet"),
    TransformerGeneratorConfig(name="transformer"),
    WaveletDiscriminatorConfig(),
    ResidualDiscriminatorConfig(name="residual"),
    PatchDiscriminatorConfig(name="patch"),
    UNetSegmenterConfig(),
]
SIZES = [[32, 32], [64, 64], [128, 128], [256, 256], [512, 512], [64, 128], [96, 32]]


def discriminator(**values):
    return TypeAdapter(DiscriminatorConfig).validate_python(values)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: type(section).__name__)
def test_defaults_equal_those_of_the_network(section):
    network = UNetSegmenter if isinstance(section, UNetSegmenterConfig) else section.network()
    arguments = {}
    for base in reversed(network.mro()):
        arguments |= inspect.signature(base.__init__).parameters
    settings = section.model_dump(exclude={"name", "spade"})
    assert settings == {name: arguments[name].default for name in settings}


def test_a_discriminator_without_a_name_is_the_wavelet_one():
    assert discriminator() == WaveletDiscriminatorConfig()
    sizes = discriminator(base_channels=32, max_channels=128)
    assert sizes == WaveletDiscriminatorConfig(base_channels=32, max_channels=128)


def test_changing_the_name_of_a_discriminator_keeps_its_sizes():
    def changed(**changes):
        return tiny_experiment(discriminator=changes).discriminator

    residual = ResidualDiscriminatorConfig(name="residual", base_channels=4, max_channels=8)
    assert changed(name="residual") == residual
    patch = PatchDiscriminatorConfig(name="patch", base_channels=4, max_channels=8)
    assert changed(name="patch") == patch
    assert changed(name="patch", num_strided=2).num_strided == 2


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_a_saved_configuration_is_loaded_unchanged(name, tmp_path, monkeypatch):
    monkeypatch.delenv("MEDUSIS_DATA", raising=False)
    config = tiny_experiment(discriminator={"name": name}, generator={"class_noise": True})
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_a_saved_configuration_keeps_its_attention(tmp_path, monkeypatch):
    monkeypatch.delenv("MEDUSIS_DATA", raising=False)
    config = tiny_experiment(generator={"attention": [1, 2], "attention_window": 4})
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert config.generator.build(5, 1, False).get_config()["attention"] == [1, 2]


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_networks_are_built_with_weights_and_the_settings_of_their_section(name):
    config = tiny_experiment(discriminator={"name": name}, generator={"class_noise": True})
    network = config.discriminator.build((32, 32), 3)
    assert network.name == "discriminator"
    assert (network.image_size, network.image_channels) == ((32, 32), 3)
    settings = config.discriminator.model_dump(exclude={"name"})
    assert settings.items() <= network.get_config().items()
    generator = config.generator.build(5, 3, synchronized=False)
    assert generator.noise_shape == (5, 3)
    segmenter = config.segmenter.build(5, 3)
    assert all(each.built and each.count_params() for each in (network, generator, segmenter))


def test_a_generator_without_noise_is_built_without_noise():
    generator = tiny_experiment(generator={"noise_dim": 0}).generator.build(5, 1, False)
    assert generator.noise_shape is None
    assert generator.stem.kernel.shape[2] == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"discriminator": {"name": "unet"}}, "discriminator: .*'wavelet', 'residual', 'patch'"),
        ({"discriminator": {"base_channel": 4}}, "base_channel: unknown key; did you mean base_c"),
        ({"discriminator": {"base_channels": 0}}, "base_channels: .*greater than 0. Received: 0"),
        ({"discriminator": {"name": "patch", "group_size": 4}}, "patch.group_size: unknown key"),
        (
            {"discriminator": {"name": "residual"}, "data": {"image_size": [96, 96]}},
            "discriminator needs .* short side that is a power of two",
        ),
        (
            {
                "discriminator": {"name": "patch", "num_strided": 4},
                "data": {"image_size": [40, 40]},
            },
            "discriminator needs .* sides divisible by 16",
        ),
        ({"generator": {"class_noise": True, "noise_dim": 0}}, "class_noise needs a noise_dim"),
        (
            {"generator": {"attention": [2, 4]}},
            r"attention must be some of \[2, 1\], .* num_blocks: 2\. Received: \[2, 4\]",
        ),
        ({"generator": {"attention": [3]}}, r"generator.*attention.*1, 2, 4, 8.*Received: 3"),
        ({"generator": {"attention": 16}}, r"generator.*attention.*Received: 16"),
        ({"generator": {"attention_window": 1}}, "attention_window: .*Received: 1"),
        ({"generator": {"attention_heads": 0}}, "attention_heads: .*Received: 0"),
        (
            {"generator": {"name": "transformer"}},
            r"transformer_finest must be one of \[2, 1\], .* num_blocks: 2\. Received: 4",
        ),
        (
            {"generator": {"name": "transformer", "transformer_finest": 2, "attention": [2]}},
            "attention: unknown key",
        ),
    ],
)
def test_an_invalid_value_is_reported(changes, message):
    with pytest.raises(UserError, match=message):
        tiny_experiment(**changes)


def test_a_discriminator_that_is_not_a_section_is_rejected():
    with pytest.raises(UserError, match=r"discriminator: .*valid dictionary"):
        tiny_experiment(discriminator=3)


@pytest.mark.parametrize("gpu", [False, True])
def test_spade_is_sparse_without_a_gpu_or_if_configured(gpu, monkeypatch):
    monkeypatch.setattr("medusis_tf.ops.convolution.has_gpu", lambda: gpu)

    def is_sparse(spade):
        section = OASISGeneratorConfig(
            name="oasis", base_channels=1, num_blocks=2, spade_channels=1, spade=spade
        )
        return section.build(2, 1, synchronized=False).sparse

    assert is_sparse("auto") is not gpu
    assert is_sparse("sparse") and not is_sparse("dense")


@pytest.mark.parametrize(
    ("size", "channels"), [*((size, 1) for size in SIZES), ([64, 128], 3)], ids=str
)
@pytest.mark.parametrize(
    "generator",
    [
        {"name": "oasis", "attention": [2]},
        {"name": "wavelet", "attention": [2]},
        {"name": "transformer", "transformer_finest": 2},
    ],
    ids=lambda generator: generator["name"],
)
def test_networks_support_each_configurable_size(size, channels, generator):
    config = tiny_experiment(
        data={"image_size": size, "image_channels": channels}, generator=generator
    )
    one_hot = tf.one_hot(tf.zeros([2, *size], tf.int32), 5)
    image = config.generator.build(5, channels, False)(one_hot, tf.zeros([2, 3]))
    assert image.shape == (2, *size, channels)
    assert config.segmenter.build(5, channels)(image).shape == (2, *size, 6)
    assert config.discriminator.build(tuple(size), channels)(image).shape == (2,)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", ["residual", "patch"])
def test_other_discriminators_support_each_configurable_size(size, name):
    config = tiny_experiment(data={"image_size": size}, discriminator={"name": name})
    discriminator = config.discriminator.build(tuple(size), 1)
    patches = (size[0] // 8, size[1] // 8) if name == "patch" else ()
    assert discriminator(tf.zeros([2, *size, 1])).shape == (2, *patches)


@pytest.mark.parametrize("image_size", [(20, 20), (4, 4), (36, 32)])
@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: type(section).__name__)
def test_unsupported_sizes_are_rejected(section, image_size):
    with pytest.raises(ValueError, match=r"sides divisible by|short side that is a power of two"):
        section.check_image_size(image_size)

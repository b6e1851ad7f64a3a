import pytest
from pydantic import TypeAdapter

from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import load_config, save_config
from medusis_tf.models.sections import (
    DiscriminatorConfig,
    OASISGeneratorConfig,
    PatchDiscriminatorConfig,
    ResidualDiscriminatorConfig,
    WaveletDiscriminatorConfig,
)
from tests.training.tiny_experiment import tiny_experiment

DISCRIMINATORS = ["wavelet", "residual", "patch"]


def discriminator(**values):
    return TypeAdapter(DiscriminatorConfig).validate_python(values)


def test_a_discriminator_without_a_name_is_the_wavelet_one():
    assert discriminator() == WaveletDiscriminatorConfig()
    sizes = discriminator(base_channels=32, max_channels=128)
    assert sizes == WaveletDiscriminatorConfig(base_channels=32, max_channels=128)


def test_one_word_changes_the_discriminator_and_keeps_its_sizes():
    def of_tiny(**changes):
        return tiny_experiment(discriminator=changes).discriminator

    residual = ResidualDiscriminatorConfig(name="residual", base_channels=4, max_channels=8)
    assert of_tiny(name="residual") == residual
    patch = PatchDiscriminatorConfig(name="patch", base_channels=4, max_channels=8)
    assert of_tiny(name="patch") == patch
    assert of_tiny(name="patch", num_strided=2).num_strided == 2


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_a_saved_config_reads_back_equal(name, tmp_path):
    config = tiny_experiment(discriminator={"name": name}, generator={"class_noise": True})
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_networks_are_built_with_all_their_weights_and_the_sections_sizes(name):
    config = tiny_experiment(discriminator={"name": name}, generator={"class_noise": True})
    network = config.discriminator.build((32, 32), 3)
    assert (network.name, network.image_size, network.image_channels) == (
        "discriminator",
        (32, 32),
        3,
    )
    settings = config.discriminator.model_dump(exclude={"name"})
    assert settings.items() <= network.get_config().items()
    generator = config.generator.build(5, 3, synchronized=False)
    assert generator.noise_shape == (5, 3)
    segmenter = config.segmenter.build(5, 3)
    assert all(each.built and each.count_params() for each in (network, generator, segmenter))


def test_a_generator_without_noise_is_built_without():
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
    ],
)
def test_a_wrong_value_is_named(changes, message):
    with pytest.raises(UserError, match=message):
        tiny_experiment(**changes)


def test_a_discriminator_that_is_no_section_is_refused():
    with pytest.raises(UserError, match=r"discriminator: .*valid dictionary"):
        tiny_experiment(discriminator=3)


@pytest.mark.parametrize("gpu", [False, True])
def test_spade_is_sparse_unless_there_is_a_gpu_or_the_configuration_says_so(gpu, monkeypatch):
    monkeypatch.setattr("medusis_tf.ops.convolution.has_gpu", lambda: gpu)

    def is_sparse(spade):
        section = OASISGeneratorConfig(
            name="oasis", base_channels=1, num_blocks=2, spade_channels=1, spade=spade
        )
        return section.build(2, 1, synchronized=False).sparse

    assert is_sparse("auto") is not gpu
    assert is_sparse("sparse") and not is_sparse("dense")

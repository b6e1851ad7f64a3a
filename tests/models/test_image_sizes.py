"""Every image size that the configuration allows is one that the networks take."""

import pytest
import tensorflow as tf

from tests.training.tiny_experiment import tiny_experiment

SIZES = [[32, 32], [64, 64], [128, 128], [256, 256], [512, 512], [64, 128], [96, 32]]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("generator", ["oasis", "wavelet"])
@pytest.mark.parametrize("channels", [1, 3])
def test_networks_take_the_size(size, generator, channels):
    config = tiny_experiment(
        data={"image_size": size, "image_channels": channels}, generator={"name": generator}
    )
    one_hot = tf.one_hot(tf.zeros([2, *size], tf.int32), 5)
    image = config.generator.build(5, channels, False)(one_hot, tf.zeros([2, 3]))
    assert image.shape == (2, *size, channels)
    assert config.segmenter.build(5, channels)(image).shape == (2, *size, 6)
    assert config.discriminator.build(tuple(size), channels)(image).shape == (2,)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", ["residual", "patch"])
def test_the_other_discriminators_take_the_size(size, name):
    config = tiny_experiment(data={"image_size": size}, discriminator={"name": name})
    discriminator = config.discriminator.build(tuple(size), 1)
    patches = (size[0] // 8, size[1] // 8) if name == "patch" else ()
    assert discriminator(tf.zeros([2, *size, 1])).shape == (2, *patches)

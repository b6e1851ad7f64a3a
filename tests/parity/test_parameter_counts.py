import math

import pytest

from medusis_tf.models.discriminators.wavelet import WaveletDiscriminator
from medusis_tf.models.generators.oasis import OASISGenerator
from medusis_tf.models.generators.wavelet import WaveletGenerator
from medusis_tf.models.segmenters.unet import UNetSegmenter


def count_trainable(network):
    return sum(math.prod(weight.shape) for weight in network.trainable_variables)


# The published wavelet generator has 1,577,408 more for C = 38, in SPADE layers it never calls.
@pytest.mark.parametrize(
    "generator_class, noise_dim, expected",
    [
        (OASISGenerator, 64, 71_190_467),
        (OASISGenerator, 0, 69_420_995),
        (WaveletGenerator, 64, 54_226_476),
    ],
)
def test_generators(generator_class, noise_dim, expected):
    generator = generator_class(38, image_channels=3, noise_dim=noise_dim)
    generator.build((None, None, None, 38), (None, noise_dim))
    assert count_trainable(generator) == expected


def test_discriminator():
    discriminator = WaveletDiscriminator((256, 256), image_channels=3)
    discriminator.build((None, 256, 256, 3))
    assert count_trainable(discriminator) == 26_211_073


@pytest.mark.parametrize("num_classes, expected", [(31, 22_251_104), (38, 22_251_559)])
def test_segmenter(num_classes, expected):
    segmenter = UNetSegmenter(num_classes, image_channels=3)
    segmenter.build((None, None, None, 3))
    assert count_trainable(segmenter) == expected

"""Small built networks of each kind with a published PyTorch version."""

from medusis_tf.models.discriminators.wavelet import WaveletDiscriminator
from medusis_tf.models.generators.oasis import OASISGenerator
from medusis_tf.models.generators.wavelet import WaveletGenerator
from medusis_tf.models.segmenters.unet import UNetSegmenter

KINDS = ["oasis_generator", "wavelet_generator", "wavelet_discriminator", "unet_segmenter"]


def make_network(kind):
    if kind == "wavelet_discriminator":
        network = WaveletDiscriminator((16, 32), base_channels=4, max_channels=8)
        network.build((None, 16, 32, 1))
    elif kind == "unet_segmenter":
        network = UNetSegmenter(4, base_channels=2, num_levels=3)
        network.build((None, None, None, 1))
    else:
        generator_class = OASISGenerator if kind == "oasis_generator" else WaveletGenerator
        network = generator_class(4, base_channels=2, noise_dim=5, num_blocks=3, spade_channels=6)
        network.build((None, None, None, 4), (None, 5))
    return network

import numpy as np

from medusis_tf.models.discriminators.wavelet import WaveletDiscriminator
from tests.models.discriminators.small import draw_images, small


def test_default_channels_equal_those_published():
    assert WaveletDiscriminator((256, 256)).channel_plan == [128, 512, 512, 512, 512, 512]


def test_logits_have_the_order_of_the_images():
    discriminator = small(WaveletDiscriminator)
    images = draw_images()
    logits = discriminator(images)
    np.testing.assert_allclose(discriminator(images[::-1])[::-1], logits, rtol=1e-4)


def test_each_weight_is_counted_once():
    discriminator = small(WaveletDiscriminator)
    discriminator.features(draw_images())
    assert len({id(weight) for weight in discriminator.weights}) == 2 * (2 + 2 + 3)

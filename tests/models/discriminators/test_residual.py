import math

import numpy as np
import tensorflow as tf

from medusis_tf.models.discriminators.residual import ResidualDiscriminator
from medusis_tf.ops.smoothing import blur, blur_down
from tests.models.discriminators.small import draw_images, small


def test_default_channels_double_up_to_512():
    plan = ResidualDiscriminator((256, 256)).channel_plan
    assert plan == [64, 128, 256, 512, 512, 512, 512]


def test_a_block_adds_a_blurred_skip_path():
    discriminator = small(ResidualDiscriminator, base_channels=3)
    features = discriminator.features(draw_images())

    def convolve(image, conv, stride):
        kernel = conv.kernel * math.sqrt((1 + conv.activate) / np.prod(conv.kernel.shape[:3]))
        outputs = tf.nn.conv2d(image, kernel, stride, conv.padding.upper())
        return tf.nn.leaky_relu(outputs, 0.2) if conv.activate else outputs  # biases are still 0

    block = discriminator.blocks[0]
    residual = convolve(blur(convolve(features[0], block.conv_1, 1)), block.conv_2, 2)
    skip = convolve(blur_down(features[0]), block.conv_skip, 1)
    np.testing.assert_allclose(features[1], (residual + skip) / math.sqrt(2), atol=1e-5)

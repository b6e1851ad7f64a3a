import math

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.losses.adversarial import r1_penalty
from medusis_tf.models.discriminators.residual import ResidualDiscriminator
from medusis_tf.ops.smoothing import blur, blur_down
from tests.layer_checks import check_contract


def make_discriminator(image_size=(16, 32), **settings):
    return ResidualDiscriminator(image_size, **{"base_channels": 4, "max_channels": 8, **settings})


def draw_images(height=16, width=32, channels=1, batch=4):
    shape = (batch, height, width, channels)
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


@pytest.mark.parametrize("channels", [1, 3])
def test_contract(channels, tmp_path):
    check_contract(
        lambda **kwargs: make_discriminator(image_channels=channels, **kwargs),
        draw_images(channels=channels),
        output_shape=(4,),
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize("image_size", [(8, 8), (32, 32), (16, 20), (64, 16)])
def test_image_sizes(image_size):
    assert make_discriminator(image_size)(draw_images(*image_size)).shape == (4,)


def test_default_channels_double_up_to_512():
    plan = ResidualDiscriminator((256, 256)).channel_plan
    assert plan == [64, 128, 256, 512, 512, 512, 512]


def test_features_are_those_of_every_scale_and_make_the_logits():
    discriminator = make_discriminator()
    features = discriminator.features(draw_images())
    shapes = [tuple(each.shape) for each in features]
    assert shapes == [(4, 16, 32, 4), (4, 8, 16, 8), (4, 4, 8, 8)]
    np.testing.assert_array_equal(discriminator.classify(features), discriminator(draw_images()))


def test_a_block_adds_a_blurred_skip_path_of_pixels():
    discriminator = make_discriminator(base_channels=3)
    features = discriminator.features(draw_images())

    def convolve(image, conv, stride):
        kernel = conv.kernel * math.sqrt((1 + conv.activate) / np.prod(conv.kernel.shape[:3]))
        outputs = tf.nn.conv2d(image, kernel, stride, conv.padding.upper())
        return tf.nn.leaky_relu(outputs, 0.2) if conv.activate else outputs  # biases are zero yet

    block = discriminator.blocks[0]
    residual = convolve(blur(convolve(features[0], block.conv_1, 1)), block.conv_2, 2)
    skip = convolve(blur_down(features[0]), block.conv_skip, 1)
    np.testing.assert_allclose(features[1], (residual + skip) / math.sqrt(2), atol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_r1_penalty_moves_every_kernel(policy):
    discriminator = make_discriminator(dtype=policy)
    discriminator.build((None, 16, 32, 1))
    kernels = [weight for weight in discriminator.trainable_variables if weight.name == "kernel"]
    with tf.GradientTape() as tape:
        penalty = r1_penalty(discriminator, draw_images())
    assert (penalty.dtype, penalty.numpy() > 0) == ("float32", True)
    assert all(np.any(gradient) for gradient in tape.gradient(penalty, kernels))


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match="image_size"):
        make_discriminator()(draw_images(32, 32))
    with pytest.raises(ValueError, match="power of two"):
        make_discriminator((24, 24))

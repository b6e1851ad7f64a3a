"""Properties that all discriminators share."""

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.losses.adversarial import r1_penalty
from medusis_tf.models.discriminators.patch import PatchDiscriminator
from medusis_tf.models.discriminators.residual import ResidualDiscriminator
from medusis_tf.models.discriminators.wavelet import WaveletDiscriminator
from tests.layer_checks import check_contract
from tests.models.discriminators.small import draw_images, small

ALL = [WaveletDiscriminator, ResidualDiscriminator, PatchDiscriminator]
WHOLE_IMAGE = [WaveletDiscriminator, ResidualDiscriminator]
# Rows, columns and channels of the feature maps of images of 16x32 pixels.
FEATURES = {
    WaveletDiscriminator: [(8, 16, 4), (4, 8, 8)],
    ResidualDiscriminator: [(16, 32, 4), (8, 16, 8), (4, 8, 8)],
    PatchDiscriminator: [(8, 16, 4), (4, 8, 8), (2, 4, 8), (2, 4, 8)],
}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("network", ALL)
def test_contract(network, channels, tmp_path):
    check_contract(
        lambda **kwargs: small(network, image_channels=channels, **kwargs),
        draw_images(channels=channels),
        output_shape=(4, 2, 4) if network is PatchDiscriminator else (4,),
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("network", ALL)
def test_logits_are_computed_from_the_features_of_all_scales(network, policy):
    discriminator = small(network, dtype=policy)
    logits = discriminator(draw_images())
    features = discriminator.features(draw_images())
    assert [tuple(each.shape) for each in features] == [(4, *shape) for shape in FEATURES[network]]
    assert {each.dtype.name for each in features} == {discriminator.compute_dtype}
    np.testing.assert_array_equal(discriminator.classify(features), logits)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("network", ALL)
def test_r1_penalty_has_a_gradient_for_each_kernel(network, policy):
    discriminator = small(network, dtype=policy)
    discriminator.build((None, 16, 32, 1))
    kernels = [weight for weight in discriminator.trainable_variables if weight.name == "kernel"]
    with tf.GradientTape() as tape:
        penalty = r1_penalty(discriminator, draw_images())
    assert (penalty.dtype, penalty.numpy() > 0) == ("float32", True)
    assert all(np.any(gradient) for gradient in tape.gradient(penalty, kernels))


@pytest.mark.parametrize("network", ALL)
def test_images_of_another_size_are_rejected(network):
    with pytest.raises(ValueError, match="image_size"):
        small(network)(draw_images(32, 32))


@pytest.mark.parametrize("image_size", [(8, 8), (32, 32), (16, 20), (64, 16)])
@pytest.mark.parametrize("network", WHOLE_IMAGE)
def test_supported_sizes_of_whole_images(network, image_size):
    assert small(network, image_size)(draw_images(*image_size)).shape == (4,)


@pytest.mark.parametrize("image_size", [(24, 24), (4, 4), (16, 18)])
@pytest.mark.parametrize("network", WHOLE_IMAGE)
def test_unsupported_sizes_of_whole_images_are_rejected(network, image_size):
    with pytest.raises(ValueError, match="power of two"):
        small(network, image_size)

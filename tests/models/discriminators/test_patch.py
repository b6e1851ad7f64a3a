import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.losses.adversarial import r1_penalty
from medusis_tf.models.discriminators.patch import PatchDiscriminator
from tests.layer_checks import check_contract


def make_discriminator(image_size=(16, 32), **settings):
    return PatchDiscriminator(image_size, **{"base_channels": 4, "max_channels": 8, **settings})


def draw_images(height=16, width=32, channels=1, batch=4):
    shape = (batch, height, width, channels)
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


@pytest.mark.parametrize("channels", [1, 3])
def test_contract(channels, tmp_path):
    check_contract(
        lambda **kwargs: make_discriminator(image_channels=channels, **kwargs),
        draw_images(channels=channels),
        output_shape=(4, 2, 4),
        tmp_path=tmp_path,
    )


@pytest.mark.parametrize("num_strided, shape", [(1, (20, 12)), (2, (10, 6))])
def test_one_logit_per_stride(num_strided, shape):
    discriminator = make_discriminator((40, 24), num_strided=num_strided)
    assert discriminator(draw_images(40, 24)).shape == (4, *shape)


def test_default_channels_are_those_published():
    assert PatchDiscriminator((256, 256)).channel_plan == [64, 128, 256, 512]


def test_features_are_those_of_every_convolution_and_make_the_logits():
    discriminator = make_discriminator()
    features = discriminator.features(draw_images())
    shapes = [tuple(each.shape) for each in features]
    assert shapes == [(4, 8, 16, 4), (4, 4, 8, 8), (4, 2, 4, 8), (4, 2, 4, 8)]
    np.testing.assert_array_equal(discriminator.classify(features), discriminator(draw_images()))


@pytest.mark.parametrize("num_strided, field", [(2, 34), (3, 70), (4, 142)])
def test_receptive_field_of_one_logit(num_strided, field):
    side = 3 * 2 ** (num_strided + 3)
    discriminator = make_discriminator((side, side), num_strided=num_strided)
    images = tf.constant(draw_images(side, side, batch=1))
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = discriminator(images)
        middle = logits[0, logits.shape[1] // 2, logits.shape[2] // 2]
    seen = np.abs(tape.gradient(middle, images))[0, :, :, 0] > 0
    assert (seen.any(axis=0).sum(), seen.any(axis=1).sum()) == (field, field)


def test_an_image_is_judged_alone_whatever_its_batch():
    discriminator = make_discriminator()
    images = draw_images()
    np.testing.assert_allclose(discriminator(images[:1]), discriminator(images)[:1], atol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_r1_penalty_moves_every_kernel(policy):
    discriminator = make_discriminator(dtype=policy)
    discriminator.build((None, 16, 32, 1))
    kernels = [weight for weight in discriminator.trainable_variables if weight.name == "kernel"]
    with tf.GradientTape() as tape:
        penalty = r1_penalty(discriminator, draw_images())
    assert (penalty.dtype, penalty.numpy() > 0) == ("float32", True)
    assert all(np.any(gradient) for gradient in tape.gradient(penalty, kernels))


def test_unfit_sizes_are_refused():
    with pytest.raises(ValueError, match="divisible by 8"):
        make_discriminator((36, 32))
    with pytest.raises(ValueError, match="image_size"):
        make_discriminator()(draw_images(32, 32))

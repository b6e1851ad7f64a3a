import numpy as np
import pytest

from medusis_tf.losses.adversarial import r1_penalty
from medusis_tf.models.discriminators.wavelet import WaveletDiscriminator
from tests.layer_checks import check_contract


def make_discriminator(image_size=(16, 32), **settings):
    return WaveletDiscriminator(image_size, **{"base_channels": 4, "max_channels": 8, **settings})


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


def test_default_channels_are_those_published():
    assert WaveletDiscriminator((256, 256)).channel_plan == [128, 512, 512, 512, 512, 512]


def test_images_of_a_batch_are_judged_in_their_order():
    discriminator = make_discriminator()
    images = draw_images()
    logits = discriminator(images)
    np.testing.assert_allclose(discriminator(images[::-1])[::-1], logits, rtol=1e-4)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_r1_penalty_is_float32(policy):
    penalty = r1_penalty(make_discriminator(dtype=policy), draw_images())
    assert penalty.dtype == "float32"
    assert penalty > 0


@pytest.mark.parametrize("image_size", [(24, 24), (4, 4), (16, 18)])
def test_unfit_size_is_refused(image_size):
    with pytest.raises(ValueError, match="power of two"):
        make_discriminator(image_size)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match="image_size"):
        make_discriminator()(draw_images(32, 32))


def test_features_are_those_of_every_scale_and_make_the_logits():
    discriminator = make_discriminator()
    features = discriminator.features(draw_images())
    assert [tuple(each.shape) for each in features] == [(4, 8, 16, 4), (4, 4, 8, 8)]
    logits = discriminator(draw_images())
    np.testing.assert_array_equal(discriminator.classify(features), logits)
    assert len({id(weight) for weight in discriminator.weights}) == 2 * (2 + 2 + 3)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_features_are_seen_with_the_precision_of_a_call(policy):
    discriminator = make_discriminator(dtype=policy)
    logits = discriminator(draw_images())
    features = discriminator.features(draw_images())
    assert {each.dtype.name for each in features} == {discriminator.compute_dtype}
    np.testing.assert_array_equal(discriminator.classify(features), logits)

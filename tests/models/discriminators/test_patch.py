import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.models.discriminators.patch import PatchDiscriminator
from tests.models.discriminators.small import draw_images, small


@pytest.mark.parametrize("num_strided, shape", [(1, (20, 12)), (2, (10, 6))])
def test_one_logit_per_stride(num_strided, shape):
    discriminator = small(PatchDiscriminator, (40, 24), num_strided=num_strided)
    assert discriminator(draw_images(40, 24)).shape == (4, *shape)


def test_default_channels_equal_those_published():
    assert PatchDiscriminator((256, 256)).channel_plan == [64, 128, 256, 512]


@pytest.mark.parametrize("num_strided, field", [(2, 34), (3, 70), (4, 142)])
def test_receptive_field_of_one_logit(num_strided, field):
    side = 3 * 2 ** (num_strided + 3)
    discriminator = small(PatchDiscriminator, (side, side), num_strided=num_strided)
    images = tf.constant(draw_images(side, side, batch=1))
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = discriminator(images)
        centre = logits[0, logits.shape[1] // 2, logits.shape[2] // 2]
    is_seen = np.abs(tape.gradient(centre, images))[0, :, :, 0] > 0
    assert (is_seen.any(axis=0).sum(), is_seen.any(axis=1).sum()) == (field, field)


def test_the_logits_of_an_image_do_not_depend_on_its_batch():
    discriminator = small(PatchDiscriminator)
    images = draw_images()
    np.testing.assert_allclose(discriminator(images[:1]), discriminator(images)[:1], atol=1e-6)


def test_unsupported_sizes_are_rejected():
    with pytest.raises(ValueError, match="divisible by 8"):
        small(PatchDiscriminator, (36, 32))

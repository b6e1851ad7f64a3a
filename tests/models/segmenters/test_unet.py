import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.models.segmenters.unet import UNetSegmenter
from tests.layer_checks import check_contract


def make_segmenter(**settings):
    return UNetSegmenter(4, **{"base_channels": 2, "num_levels": 3, **settings})


def draw_images(height=16, width=24, channels=1):
    return np.random.default_rng(0).standard_normal((2, height, width, channels)).astype("float32")


@pytest.mark.parametrize("num_levels", [1, 3])
def test_contract(num_levels, tmp_path):
    check_contract(
        lambda **kwargs: make_segmenter(num_levels=num_levels, image_channels=3, **kwargs),
        draw_images(channels=3),
        output_shape=(2, 16, 24, 5),
        tmp_path=tmp_path,
    )


def test_default_channels_equal_those_published():
    segmenter = UNetSegmenter(4)
    assert segmenter.encoder_plan == [128, 128, 256, 256, 512, 512]
    assert segmenter.decoder_plan == [512, 256, 256, 128, 128, 64]
    assert segmenter.stride == 64


def test_unknown_batch_and_size():
    segmenter = make_segmenter()
    expected = segmenter(draw_images())
    traced = tf.function(lambda x: segmenter(x), [tf.TensorSpec([None, None, None, 1])])
    np.testing.assert_allclose(traced(draw_images()), expected, atol=1e-5)


@pytest.mark.parametrize("images", [draw_images(12, 16), draw_images(channels=3)])
def test_invalid_images_are_rejected(images):
    with pytest.raises(ValueError, match="image_channels=1"):
        make_segmenter()(images)

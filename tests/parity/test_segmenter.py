import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.interop.pytorch import load_pytorch_weights
from medusis_tf.losses.segmentation import segmentation_loss
from medusis_tf.models.segmenters.unet import UNetSegmenter
from tests.parity.gradient_norms import assert_gradient_norms_match


def test_segmenter(parity_case):
    case = parity_case("unet_segmenter")
    segmenter = UNetSegmenter(38, image_channels=3)
    segmenter.build((None, None, None, 3))
    load_pytorch_weights(segmenter, case.state_dict())
    images = tf.constant(case.images((2, 3, 256, 256)))

    logits = tf.function(segmenter)(images)
    strided = case.arrays["logits_eval_strided8"]
    np.testing.assert_allclose(logits[:, ::8, ::8], strided, atol=1e-4)

    @tf.function
    def train(images, label_map):
        with tf.GradientTape() as tape:
            loss = segmentation_loss(segmenter(images, training=True), label_map)
        return loss, tape.gradient(loss, segmenter.trainable_variables)

    loss, gradients = train(images, case.arrays["label_map"])
    assert loss.numpy() == pytest.approx(case.recorded["segmentation_loss_train"], rel=1e-5)
    assert_gradient_norms_match(segmenter, gradients, case.recorded["gradient_norms"])


def test_segmentation_loss(parity_case):
    case = parity_case("segmentation_loss")
    logits, label_map = case.arrays["logits"], case.arrays["label_map"]
    loss = segmentation_loss(logits, label_map).numpy()
    assert loss == pytest.approx(case.recorded["segmentation_loss"], rel=1e-5)

    without_3 = np.where(label_map == 3, 0, label_map)
    loss = segmentation_loss(logits, without_3).numpy()
    assert loss == pytest.approx(case.recorded["segmentation_loss_class3_to_0"], rel=1e-5)

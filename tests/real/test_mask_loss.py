"""The mask loss on the thigh: the true MR pleases it, pictures with a wrong outline do not."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from medusis_tf.data.labels.body import label_body_mask
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.losses.mask import MaskLoss
from medusis_tf.methods.air_threshold import air_threshold
from medusis_tf.methods.experiment import load_config
from medusis_tf.ops.mask_components import fill_holes, keep_large_components
from medusis_tf.ops.morphology import open_mask


@pytest.fixture(scope="module")
def thigh(shared_data, tmp_path_factory, request):
    config = load_config(
        request.config.rootpath / "configs/thigh_ct_to_mr.yaml",
        [f"data.root={shared_data}", f"data.cache_dir={tmp_path_factory.mktemp('cache')}"],
    )
    shards = prepare_shards(config)
    class_names = tuple(entry.name for entry in config.data.classes)
    loss = MaskLoss(config.mask_loss, class_names, air_threshold(shards))
    slices = shards.read("STS_048")
    return loss, slices.label_map, slices.image, label_body_mask(slices.label_map)


def loss_of(thigh, images):
    loss, label_map, _, body = thigh
    return float(loss(tf.constant(images[..., np.newaxis]), tf.constant(body), label_map))


def test_a_smaller_body_a_larger_one_and_an_invisible_rim_cost_much_more_than_the_true_mr(thigh):
    _, _, images, body = thigh
    rim = body & ~ndimage.binary_erosion(body, iterations=8, structure=np.ones((1, 3, 3)))
    around = ndimage.binary_dilation(body, iterations=8, structure=np.ones((1, 3, 3))) & ~body
    true = loss_of(thigh, images)
    assert true < 0.02
    assert loss_of(thigh, np.where(rim, -1, images).astype("float32")) > 5 * true
    assert loss_of(thigh, np.where(rim, -0.85, images).astype("float32")) > 4 * true
    assert loss_of(thigh, np.where(around, 0.5, images).astype("float32")) > 5 * true


def test_descent_on_the_pixels_of_a_blank_picture_paints_the_outline(thigh):
    loss, label_map, _, body = (part if i == 0 else part[20:24] for i, part in enumerate(thigh))
    pixels = tf.Variable(np.full((*body.shape, 1), -0.9, "float32"))
    before = loss.image_mask(pixels, tf.cast(body, tf.float32)).numpy() > 0.5
    for _ in range(40):
        with tf.GradientTape() as tape:
            value = loss(pixels, tf.constant(body), label_map)
        pixels.assign_sub(0.02 * tf.sign(tape.gradient(value, pixels)))
    assert not before.any()
    painted = pixels.numpy()[..., 0] > loss.air_threshold
    dice = 2 * np.sum(painted & body) / (painted.sum() + body.sum())
    assert dice > 0.98


def test_operations_agree_with_scipy_on_the_masks_of_real_slices(thigh):
    _, label_map, images, _ = thigh
    for masks in (label_map == 1, images > -0.7, images > 0.2):
        filled = np.stack([ndimage.binary_fill_holes(mask) for mask in masks])
        np.testing.assert_array_equal(fill_holes(tf.constant(masks)), filled)
        cross = ndimage.generate_binary_structure(2, 1)
        opened = np.stack([_open(mask, cross) for mask in masks])
        np.testing.assert_array_equal(open_mask(tf.constant(masks), "cross", 1) > 0, opened)
        np.testing.assert_array_equal(
            keep_large_components(tf.constant(masks), 0.1), np.stack([_large(m) for m in masks])
        )


def _open(mask, structure):
    # Beyond the picture the body goes on for the erosion, and does not for the dilation.
    eroded = ndimage.binary_erosion(mask, structure, border_value=1)
    return ndimage.binary_dilation(eroded, structure)


def _large(mask):
    labels, count = ndimage.label(mask)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    areas[0] = 0
    return (areas >= 0.1 * areas.max())[labels] & mask

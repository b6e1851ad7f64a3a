"""The mask loss: its values, its gradient, and images that must not fool it."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from skimage.filters import threshold_otsu

from medusis_tf.losses.mask import MaskLoss
from medusis_tf.losses.sections import MaskLossConfig

CLASSES = ("background", "tissue", "bone")
THRESHOLD = -0.68
SIZE = 64


def disk(radius, row=SIZE // 2, column=SIZE // 2):
    rows, columns = np.ogrid[:SIZE, :SIZE]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def image_of(body, bright=0.2, dark=-1.0):
    return tf.constant(np.where(body, bright, dark)[np.newaxis, ..., np.newaxis], tf.float32)


def mask_loss(**settings):
    return MaskLoss(MaskLossConfig.model_validate(settings), CLASSES, THRESHOLD)


def loss_of(image, body, label_map=None, **settings):
    ids = body.astype("uint8") if label_map is None else label_map
    batch = tf.constant(body[np.newaxis].astype("uint8")), tf.constant(ids[np.newaxis])
    return float(mask_loss(**settings)(image, *batch))


def dice(a, b):
    return 2 * np.sum(a & b) / (np.sum(a) + np.sum(b))


THRESHOLDS = [
    {"name": "real_images"},
    {"name": "fixed", "value": THRESHOLD},
    {"name": "otsu"},
    {"name": "robust_maximum", "fraction": 0.3},
]


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda threshold: threshold["name"])
def test_a_correct_outline_costs_almost_nothing_and_a_wrong_one_its_area(threshold):
    body = disk(20)
    correct = loss_of(image_of(body), body, threshold=threshold)
    small = loss_of(image_of(disk(14)), body, threshold=threshold)
    assert correct < 0.01
    missing = np.mean(body & ~disk(14))
    assert small == pytest.approx(missing, rel=0.15)


@pytest.mark.parametrize("threshold", THRESHOLDS, ids=lambda threshold: threshold["name"])
def test_the_gradient_is_finite_and_points_to_the_correct_outline(threshold):
    body = disk(20)
    image = image_of(disk(14, row=28))
    loss = mask_loss(threshold=threshold)
    with tf.GradientTape() as tape:
        tape.watch(image)
        value = loss(image, tf.constant(body[np.newaxis]), tf.constant(body[np.newaxis], tf.uint8))
    gradient = tape.gradient(value, image)[0, ..., 0].numpy()
    assert np.all(np.isfinite(gradient))
    assert gradient[body & ~disk(14, row=28)].sum() < 0  # missing body must become brighter
    excess = disk(14, row=12)
    with tf.GradientTape() as tape:
        image = image_of(excess | body)
        tape.watch(image)
        value = loss(image, tf.constant(body[np.newaxis]), tf.constant(body[np.newaxis], tf.uint8))
    gradient = tape.gradient(value, image)[0, ..., 0].numpy()
    assert gradient[excess & ~body].sum() > 0  # excess body must become darker


def test_gradient_descent_on_pixels_corrects_a_wrong_outline():
    body = disk(20, row=30, column=34)
    pixels = tf.Variable(np.arctanh(np.clip(image_of(disk(15, row=36)), -0.95, 0.95)))
    loss = mask_loss()
    masks = tf.constant(body[np.newaxis]), tf.constant(body[np.newaxis], tf.uint8)
    optimizer = keras.optimizers.Adam(0.3)

    def outline():
        grey = np.tanh(pixels.numpy())[0, ..., 0]
        return dice(grey > threshold_otsu(grey), body)

    before = outline()
    for _ in range(30):
        with tf.GradientTape() as tape:
            value = loss(tf.tanh(pixels), *masks)
        optimizer.apply_gradients([(tape.gradient(value, pixels), pixels)])
    assert before < 0.75
    assert outline() > 0.98


def test_invisible_dark_grey_does_not_reduce_the_loss():
    body = disk(20)
    invisible = np.where(disk(14), 0.2, np.where(body, -0.85, -1.0))
    image = tf.constant(invisible[np.newaxis, ..., np.newaxis], tf.float32)
    assert loss_of(image, body) > 0.7 * loss_of(image_of(disk(14)), body)


@pytest.mark.parametrize("thickness", [1, 2, 3])
def test_a_bright_line_does_not_make_an_outline(thickness):
    body, inner = disk(24), disk(12)
    line = body & ~disk(24 - thickness)
    without_line = loss_of(image_of(inner), body)
    assert loss_of(image_of(inner | line), body) > 0.4 * without_line


def test_each_limit_on_holes_rejects_a_bright_line():
    body, inner, near = disk(24), disk(14), disk(18)
    line = body & ~disk(21)
    fooled = {"largest_hole": 1.0, "hole_depth": 0}
    assert loss_of(image_of(inner | line), body, **fooled) < 0.02
    assert loss_of(image_of(near | line), body, **fooled) < 0.02
    assert loss_of(image_of(inner | line), body, hole_depth=0) > 0.1  # too large
    assert loss_of(image_of(near | line), body, largest_hole=1.0, hole_depth=8) > 0.03  # too close


def test_dark_structures_inside_are_filled_or_left_out():
    body, bone = disk(24), disk(5)
    image = image_of(body & ~bone)
    assert loss_of(image, body) < 0.015
    assert loss_of(image, body, largest_hole=0) > 0.8 * np.mean(bone)
    label_map = np.where(bone, 2, body).astype("uint8")
    assert loss_of(image, body, label_map, largest_hole=0, left_out=("bone",)) < 0.015


def test_specks_and_small_components_are_not_body():
    body = disk(20)
    specks = np.zeros_like(body)
    specks[2::9, 2::9] = True
    far = disk(5, row=7, column=7)
    clean = loss_of(image_of(body), body)
    assert loss_of(image_of(body | specks), body) == pytest.approx(clean, abs=0.03)
    assert loss_of(image_of(body | far), body) == pytest.approx(clean, abs=0.01)
    assert loss_of(image_of(body | far), body, least_component=0.0) > np.mean(far) * 0.7


def test_both_legs_are_body():
    legs = disk(10, column=16) | disk(9, column=46)
    assert loss_of(image_of(legs), legs) < 0.01
    assert loss_of(image_of(disk(10, column=16)), legs) > 0.8 * np.mean(disk(9, column=46))


def test_each_image_of_a_batch_is_evaluated_separately():
    bodies = np.stack([disk(20), np.zeros_like(disk(1)), np.ones_like(disk(1)), disk(9)])
    wrong = np.stack([disk(14), disk(8), disk(25), disk(9)])
    images = tf.concat([image_of(each) for each in wrong], axis=0)
    loss = mask_loss()
    together = float(loss(images, tf.constant(bodies), tf.constant(bodies, tf.uint8)))
    alone = [loss_of(images[i : i + 1], bodies[i]) for i in range(4)]
    assert together == pytest.approx(np.mean(alone), rel=1e-5)


@pytest.mark.parametrize("fill", [-1.0, 1.0])
def test_constant_images_and_empty_masks_give_finite_values(fill):
    image = tf.fill([2, SIZE, SIZE, 1], fill)
    masks = np.stack([np.zeros((SIZE, SIZE)), np.ones((SIZE, SIZE))]).astype("uint8")
    for threshold in THRESHOLDS:
        with tf.GradientTape() as tape:
            tape.watch(image)
            value = mask_loss(threshold=threshold)(image, tf.constant(masks), tf.constant(masks))
        assert np.isfinite(value)
        assert np.all(np.isfinite(tape.gradient(value, image)))


def test_bfloat16_images_of_three_channels_are_evaluated_in_float32():
    body = disk(20)
    image = tf.cast(tf.repeat(image_of(disk(14)), 3, axis=-1), tf.bfloat16)
    value = mask_loss()(image, tf.constant(body[np.newaxis]), tf.constant(body[np.newaxis]))
    assert value.dtype == tf.float32
    assert float(value) == pytest.approx(loss_of(image_of(disk(14)), body), rel=0.02)


def test_value_and_gradient_are_equal_when_compiled_with_xla():
    body = disk(20)
    masks = tf.constant(body[np.newaxis]), tf.constant(body[np.newaxis], tf.uint8)
    loss = mask_loss()

    def value_and_gradient(image):
        with tf.GradientTape() as tape:
            tape.watch(image)
            value = loss(image, *masks)
        return value, tape.gradient(value, image)

    image = image_of(disk(14, row=28))
    compiled = tf.function(value_and_gradient, jit_compile=True)(image)
    for one, other in zip(compiled, value_and_gradient(image), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_missing_threshold_of_the_real_images_is_rejected():
    with pytest.raises(ValueError, match="estimated from the training images"):
        MaskLoss(MaskLossConfig(), CLASSES)

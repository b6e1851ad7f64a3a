"""The mask loss of volumes: against the same steps in SciPy, its gradient, and training."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage
from skimage.morphology import ball

from medusis_tf.losses.mask import AIR, MaskLoss
from medusis_tf.losses.sections import MaskLossConfig

CLASSES = ("background", "tissue", "bone")
THRESHOLD = -0.68
SHAPE = (12, 28, 30)
LEAST, LARGEST, DEPTH = 0.1, 0.05, 3


def sphere(radius, centre=(6, 14, 15)):
    offsets = np.ogrid[tuple(map(slice, SHAPE))]
    return sum((each - c) ** 2 for each, c in zip(offsets, centre, strict=True)) <= radius**2


def mask_loss(**settings):
    return MaskLoss(MaskLossConfig.model_validate(settings), CLASSES, THRESHOLD)


def volume_of(body):
    return tf.constant(np.where(body, 0.2, AIR)[np.newaxis, ..., np.newaxis], tf.float32)


def batch_of(body):
    return tf.constant(body[np.newaxis]), tf.constant(body[np.newaxis], tf.uint8)


def opened(mask):
    eroded = ndimage.grey_erosion(mask, footprint=ball(1), mode="constant", cval=1)
    return ndimage.grey_dilation(eroded, footprint=ball(1), mode="constant", cval=0)


def scipy_mask(grey, body, threshold):
    """The steps of the loss on one volume."""
    scale = max(0.25 * (threshold - AIR), 1e-2)
    soft = opened(1 / (1 + np.exp(-(grey - threshold) / scale)))
    labels, count = ndimage.label(soft > 0.5)
    sizes = ndimage.sum_labels(np.ones(SHAPE), labels, range(1, count + 1))
    kept = np.isin(labels, 1 + np.flatnonzero(sizes >= LEAST * sizes.max()))
    holes, count = ndimage.label(ndimage.binary_fill_holes(kept) & ~kept)
    sizes = ndimage.sum_labels(np.ones(SHAPE), holes, range(1, count + 1))
    small = np.isin(holes, 1 + np.flatnonzero(sizes <= LARGEST * kept.sum()))
    deep = ndimage.binary_erosion(body, ball(DEPTH), border_value=1)
    mask = np.where((soft > 0.5) & ~kept, 0, soft)
    return np.where(small & deep, 1, mask)


@pytest.mark.parametrize("threshold", ["fixed", "robust_maximum"])
@pytest.mark.parametrize("channels", [0, 1, 3])
def test_the_loss_equals_the_steps_in_scipy(threshold, channels):
    random = np.random.default_rng(channels)
    bodies = np.stack([sphere(11), sphere(9, (5, 12, 14))])
    label_maps = np.where(np.stack(2 * [sphere(3)]), 2, bodies)
    noise = random.normal(size=(2, *SHAPE, max(channels, 1))) * 0.3
    images = np.where(np.roll(bodies & (label_maps != 2), 2, axis=2), 0.1, -0.95)[..., None]
    images = np.clip(ndimage.gaussian_filter(noise, (0, 1, 1, 1, 0)) + images, -1, 1)
    greys = images.mean(axis=-1)
    settings = {"name": threshold, **({"value": -0.4} if threshold == "fixed" else {})}
    levels = [-0.4, -0.4]
    if threshold == "robust_maximum":
        top = [np.sort(grey.ravel())[-int(grey.size * 0.01) - 1] for grey in greys]
        levels = [AIR + 0.2 * (each - AIR) for each in top]
    masks = map(scipy_mask, greys, bodies, levels)
    distances = [
        (label_map != 2) * np.square(mask - opened(body.astype(float)))
        for mask, body, label_map in zip(masks, bodies, label_maps, strict=True)
    ]
    loss = mask_loss(threshold=settings, hole_depth=DEPTH, left_out=("bone",))
    given = images if channels else images[..., 0]
    found = loss(tf.constant(given, tf.float32), tf.constant(bodies), tf.constant(label_maps))
    assert np.mean(distances) > 0.02
    assert float(found) == pytest.approx(np.mean(distances), rel=1e-4)


def test_the_otsu_threshold_is_that_of_the_volume():
    body = sphere(10)
    image = volume_of(body) + 0.1 * tf.random.stateless_normal([1, *SHAPE, 1], [0, 0])
    air, bright = image.numpy()[0, ~body].mean(), image.numpy()[0, body].mean()
    otsu = mask_loss(threshold={"name": "otsu"})(image, *batch_of(body))
    fixed = mask_loss(threshold={"name": "fixed", "value": (air + bright) / 2})(
        image, *batch_of(body)
    )
    assert float(otsu) == pytest.approx(float(fixed), rel=0.05)


def test_a_hole_of_all_slices_is_filled_if_the_volume_closes_it():
    body, bone = sphere(11), sphere(3)
    image = volume_of(body & ~bone)
    assert float(mask_loss(hole_depth=DEPTH)(image, *batch_of(body))) < 0.015
    tunnel = np.broadcast_to(sphere(3)[6], SHAPE) & body
    image = volume_of(body & ~tunnel)
    assert float(mask_loss(hole_depth=DEPTH)(image, *batch_of(body))) > 0.5 * np.mean(tunnel)


def test_the_gradient_is_finite_and_points_to_the_correct_outline():
    body, painted = sphere(11), sphere(9, (6, 17, 15))
    image = volume_of(painted)
    with tf.GradientTape() as tape:
        tape.watch(image)
        value = mask_loss()(image, *batch_of(body))
    gradient = tape.gradient(value, image)[0, ..., 0].numpy()
    assert np.all(np.isfinite(gradient))
    assert gradient[body & ~painted].sum() < 0  # missing body must become brighter
    assert gradient[painted & ~body].sum() > 0  # excess body must become darker


def test_gradient_descent_on_voxels_corrects_a_wrong_outline():
    body = sphere(11)
    voxels = tf.Variable(np.arctanh(np.clip(volume_of(sphere(9, (6, 16, 15))), -0.95, 0.95)))
    loss, batch, optimizer = mask_loss(), batch_of(body), keras.optimizers.Adam(0.3)

    def outline():
        found = np.tanh(voxels.numpy())[0, ..., 0] > THRESHOLD
        return 2 * np.sum(found & body) / (np.sum(found) + np.sum(body))

    before = outline()
    for _ in range(30):
        with tf.GradientTape() as tape:
            value = loss(tf.tanh(voxels), *batch)
        optimizer.apply_gradients([(tape.gradient(value, voxels), voxels)])
    assert before < 0.8
    assert outline() > 0.95


def test_value_and_gradient_are_equal_when_compiled_with_xla():
    batch, loss = batch_of(sphere(10)), mask_loss(hole_depth=DEPTH)

    def value_and_gradient(image):
        with tf.GradientTape() as tape:
            tape.watch(image)
            value = loss(image, *batch)
        return value, tape.gradient(value, image)

    image = volume_of(sphere(9, (6, 17, 15)))
    compiled = tf.function(value_and_gradient, jit_compile=True)(image)
    for one, other in zip(compiled, value_and_gradient(image), strict=True):
        np.testing.assert_allclose(one, other, atol=5e-6)

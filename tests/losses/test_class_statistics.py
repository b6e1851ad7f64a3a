"""Losses on grey levels and texture of classes, against NumPy and by their properties."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import wasserstein_distance

from medusis_tf.losses.class_statistics import ClassTextureLoss, class_quantile_loss

LEVELS = (np.arange(32) + 0.5) / 32


def random_batch(seed=0, classes=3):
    draw = np.random.default_rng(seed)
    label_map = draw.integers(0, classes, (2, 24, 24)).astype(np.int32)
    image = draw.uniform(-1, 1, (2, 24, 24, 1)).astype(np.float32)
    return image, label_map


def test_the_quantile_loss_equals_that_of_numpy():
    image, label_map = random_batch()
    target = np.sort(np.random.default_rng(1).uniform(-1, 1, (3, 32)), axis=1).astype(np.float32)
    expected = np.mean(
        [
            np.abs(np.quantile(image[i, ..., 0][label_map[i] == k], LEVELS) - target[k]).mean()
            for i in range(2)
            for k in range(3)
        ]
    )
    assert class_quantile_loss(image, label_map, target).numpy() == pytest.approx(
        expected, abs=1e-5
    )


def test_without_the_spread_the_loss_holds_the_mean_between_the_quartiles():
    label_map = np.ones((1, 32, 32), np.int32)
    target = np.tile(np.linspace(-0.5, 0.5, 65)[1::2], (2, 1))
    grey = np.linspace(-1, 1, 32 * 32).reshape(1, 32, 32, 1)

    def loss(image, spread):
        return float(class_quantile_loss(image, label_map, target, spread=spread))

    assert loss(grey, True) == pytest.approx(0.25, abs=0.01)
    assert loss(grey, False) == pytest.approx(0, abs=1e-3)
    assert loss(0.1 * grey, False) == pytest.approx(0, abs=1e-3)
    assert loss(0.1 * grey + 0.2, False) == pytest.approx(0.2, abs=1e-3)


def test_classes_without_quantiles_and_small_classes_do_not_count():
    image, label_map = random_batch()
    label_map[label_map == 2] = 1
    label_map[0, 0, :5] = 2
    target = np.zeros((3, 32), np.float32)
    target[0] = np.nan
    alone = np.mean(
        [np.abs(np.quantile(image[i, ..., 0][label_map[i] == 1], LEVELS)).mean() for i in range(2)]
    )
    assert class_quantile_loss(image, label_map, target).numpy() == pytest.approx(alone, abs=1e-5)
    nothing = np.full((3, 32), np.nan, np.float32)
    assert class_quantile_loss(image, label_map, nothing).numpy() == 0


def test_descending_the_quantile_loss_gives_each_class_its_grey_levels():
    image, label_map = random_batch()
    target = np.stack([np.full(32, -0.9), np.linspace(-0.5, 0, 32), np.full(32, 0.8)])
    pixels = tf.Variable(image)
    for step in range(400):
        with tf.GradientTape() as tape:
            loss = class_quantile_loss(pixels, label_map, target.astype(np.float32))
        rate = 10.0 if step < 300 else 1.0
        pixels.assign_sub(rate * tape.gradient(loss, pixels))
    medians = [np.median(pixels.numpy()[..., 0][label_map == k]) for k in range(3)]
    np.testing.assert_allclose(medians, [-0.9, -0.25, 0.8], atol=0.05)


def textures(strength, seed=0):
    """Images whose class 1 (the right half) has noise of a strength, and class 0 none."""
    draw = np.random.default_rng(seed)
    image = np.zeros((4, 64, 64, 1), np.float32)
    image[:, :, 32:] += strength * draw.standard_normal((4, 64, 32, 1)).astype(np.float32)
    one_hot = tf.one_hot(np.broadcast_to(np.arange(64) >= 32, (4, 64, 64)).astype(np.int32), 2)
    return image, one_hot


def test_the_texture_loss_depends_on_the_texture_and_not_on_the_pixels():
    loss = ClassTextureLoss(2)
    real, one_hot = textures(0.2)
    same = loss(*textures(0.2, seed=1), real, one_hot).numpy()
    flat = loss(*textures(0.0), real, one_hot).numpy()
    strong = loss(*textures(0.4, seed=1), real, one_hot).numpy()
    coarse = np.repeat(np.repeat(textures(0.2, seed=2)[0][:, ::2, ::2], 2, 1), 2, 2)
    assert same < 0.03 < 0.1 < loss(coarse, one_hot, real, one_hot).numpy() < min(flat, strong)
    assert loss(real, one_hot, real, one_hot).numpy() == 0


def test_the_texture_loss_tells_sparse_lines_from_grain_of_the_same_energy():
    """The energy of filter responses does not: it would accept either for the other."""
    draw = np.random.default_rng(4)
    lines = np.where(draw.random((4, 64, 64, 1)) < 0.003, 1.0, 0.0).astype(np.float32)
    grain = (lines.std() * draw.standard_normal(lines.shape)).astype(np.float32)
    one_hot = tf.one_hot(np.ones((4, 64, 64), np.int32), 2)
    loss = ClassTextureLoss(2)
    other_lines = np.roll(lines, (17, 23), (1, 2))
    assert loss(other_lines, one_hot, lines, one_hot).numpy() < 0.2
    assert loss(grain, one_hot, lines, one_hot).numpy() > 0.3


def test_the_texture_loss_is_the_wasserstein_distance_of_the_responses():
    """Of one filter and one scale, in units of the root mean square of the real responses."""
    loss = ClassTextureLoss(2)
    one_hot = tf.one_hot(np.ones((1, 64, 64), np.int32), 2)
    sorted_responses = []
    for seed, strength in ((0, 0.2), (1, 0.3)):
        noise = np.random.default_rng(seed).standard_normal((1, 64, 64, 1)).astype(np.float32)
        values, counts = loss._sorted_responses(tf.constant(strength * noise), one_hot)
        assert counts.numpy()[1] == 64 * 64
        sorted_responses.append(values.numpy()[1, 0])
    distance = wasserstein_distance(*sorted_responses)
    assert np.abs(sorted_responses[0] - sorted_responses[1]).mean() == pytest.approx(distance)


def test_the_texture_loss_ignores_grey_levels_and_pixels_near_a_border():
    loss = ClassTextureLoss(2)
    real, one_hot = textures(0.2)
    brighter = real + 0.5 * one_hot[..., 1:].numpy()
    assert loss(brighter, one_hot, real, one_hot).numpy() == pytest.approx(0, abs=0.01)


def test_the_texture_loss_has_a_gradient_at_a_flat_image():
    flat, one_hot = textures(0.0)
    flat = tf.Variable(flat + 0.01 * np.random.default_rng(3).standard_normal(flat.shape))
    with tf.GradientTape() as tape:
        loss = ClassTextureLoss(2)(flat, one_hot, *textures(0.2))
    gradient = tape.gradient(loss, flat).numpy()
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0

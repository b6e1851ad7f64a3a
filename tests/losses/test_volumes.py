"""The losses of volumes: equal to those of their slices, or of their voxels as one tall image."""

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.losses.adversarial import (
    discriminator_real_loss,
    discriminator_synthetic_loss,
    generator_adversarial_loss,
    logits_and_r1_penalty,
    share_of_real,
)
from medusis_tf.losses.class_statistics import (
    ClassTextureLoss,
    class_quantile_loss,
    count_compared,
)
from medusis_tf.losses.diversity import diversity_loss
from medusis_tf.losses.reconstruction import feature_matching_loss, reconstruction_loss
from medusis_tf.losses.segmentation import consistency_loss, entropy_loss, segmentation_loss

BATCH, DEPTH, HEIGHT, WIDTH, CLASSES = 2, 3, 32, 32, 3


def drawn(*channels, seed=0):
    generator = np.random.default_rng(seed)
    return generator.uniform(-1, 1, (BATCH, DEPTH, HEIGHT, WIDTH, *channels)).astype("float32")


def labels(seed=0):
    return np.digitize(drawn(seed=seed), [0.2, 0.7]).astype("int32")


def tall(volumes):
    """The slices of each volume, one below the other in one image."""
    return np.reshape(volumes, (BATCH, DEPTH * HEIGHT, *volumes.shape[3:]))


def equal(found, expected):
    assert float(expected) > 0
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("spread", [True, False])
@pytest.mark.parametrize("is_cut", [True, False])
def test_quantiles_are_those_of_all_voxels_of_a_volume(spread, is_cut):
    image, label_map, visible = drawn(1), labels(), (drawn(seed=2) > -0.5) if is_cut else None
    target = np.sort(np.random.default_rng(1).uniform(-1, 1, (CLASSES, 32)), axis=1)
    below = None if visible is None else tall(visible)
    equal(
        class_quantile_loss(image, label_map, target, visible, spread),
        class_quantile_loss(tall(image), tall(label_map), target, below, spread),
    )
    equal(
        count_compared(label_map, target, visible),
        count_compared(tall(label_map), target, below),
    )


def test_texture_is_that_of_the_slices():
    image, real = 0.2 * drawn(1), 0.3 * drawn(1, seed=1)
    halves = np.broadcast_to(np.arange(WIDTH) >= WIDTH // 2, (BATCH, DEPTH, HEIGHT, WIDTH))
    one_hot = np.eye(CLASSES, dtype="float32")[halves.astype(int)]
    loss = ClassTextureLoss(CLASSES)
    slices = [each.reshape(-1, *each.shape[2:]) for each in (image, one_hot, real, one_hot)]
    variable = tf.Variable(image)
    with tf.GradientTape() as tape:
        value = loss(variable, one_hot, real, one_hot)
    equal(value, loss(*slices))
    gradient = tape.gradient(value, variable).numpy()
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_losses_of_the_segmenter_are_those_of_all_voxels():
    logits, teacher, label_map = drawn(CLASSES + 1), drawn(CLASSES + 1, seed=1), labels()
    for weight in (0.0, 0.5):
        equal(
            segmentation_loss(logits, label_map, weight),
            segmentation_loss(tall(logits), tall(label_map), weight),
        )
    equal(entropy_loss(logits), entropy_loss(tall(logits)))
    equal(consistency_loss(logits, teacher), consistency_loss(tall(logits), tall(teacher)))


def test_differences_of_volumes_are_those_of_all_voxels():
    image, other, weights = drawn(1), drawn(1, seed=1), tf.constant([0.3, 0.7])
    noises = np.random.default_rng(2).normal(size=(2, BATCH, 5)).astype("float32")
    equal(diversity_loss(image, other, *noises), diversity_loss(tall(image), tall(other), *noises))
    equal(
        reconstruction_loss(image, other, weights),
        reconstruction_loss(tall(image), tall(other), weights),
    )
    equal(
        feature_matching_loss([image, image[:, ::2]], [other, other[:, ::2]], weights),
        (reconstruction_loss(image, other, weights)
        + reconstruction_loss(image[:, ::2], other[:, ::2], weights)) / 2,
    )  # fmt: skip


@pytest.mark.parametrize(
    "loss",
    [
        generator_adversarial_loss,
        discriminator_real_loss,
        discriminator_synthetic_loss,
        share_of_real,
    ],
)
def test_logit_maps_of_volumes_count_each_patch(loss):
    equal(loss(drawn()), loss(drawn().ravel()))
    pair = (drawn(), drawn(seed=1)[:, ::2])
    equal(loss(pair), np.mean([loss(each.ravel()) for each in pair]))


def test_r1_of_a_linear_discriminator_of_volumes_is_its_squared_norm():
    weights, volumes = drawn(1)[:1], drawn(1, seed=1)
    for axes, patches in (([1, 2, 3, 4], 1), ([4], DEPTH * HEIGHT * WIDTH)):
        logits, penalty = logits_and_r1_penalty(
            lambda given, axes=axes: tf.reduce_sum(given * weights, axis=axes), volumes
        )
        np.testing.assert_allclose(logits, np.sum(volumes * weights, tuple(axes)), rtol=1e-4)
        # The logit of a volume is the mean of its patches.
        equal(penalty, np.sum(np.square(weights)) / patches**2)

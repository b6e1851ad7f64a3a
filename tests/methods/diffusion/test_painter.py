"""The painter: noise, means of classes, and what the denoiser sees of labels."""

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.methods.diffusion.painter import (
    DiffusionPainter,
    class_means_of,
    condition_of,
    tissue_table,
)
from medusis_tf.methods.diffusion.sections import SamplerConfig
from medusis_tf.models.denoisers import UNetDenoiser

MEANS = np.array([-1, 0.6, -0.4], np.float32)


def painter(condition=True, channels=1, noise_length=0.0, **sampler):
    settings = {"start_level": 0.4, "steps": 3, **sampler}
    denoiser = UNetDenoiser(channels, 12 if condition else 0, 8, 2, 1)
    denoiser.build((None, None, None, 4 * channels))
    denoiser.deviations.assign(np.array([1.2, 0.2, 0.2, 0.1], np.float32).repeat(channels))
    found = DiffusionPainter(denoiser, 3, SamplerConfig(**settings), noise_length)
    found.class_means.assign(MEANS)
    return found


def one_hot(seed=0, batch=2, size=16):
    blocks = np.random.default_rng(seed).integers(0, 3, [batch, size // 4, size // 4])
    return tf.one_hot(blocks.repeat(4, 1).repeat(4, 2), 3)


def noise(seed=0, batch=2):
    return tf.random.stateless_normal([batch, 1024], [seed, 1])


def test_the_fields_of_a_volume_change_along_its_axis():
    """Parts of a volume fit together, its first slice is that without a length."""
    labels = tf.repeat(one_hot()[:, tf.newaxis], 6, axis=1)
    paint = painter(noise_length=2.0)
    volume = paint(labels, noise()).numpy()
    assert volume.shape == (2, 6, 16, 16, 1)
    parts = [
        paint(labels[:, first : first + 3], noise(), first_slice=tf.fill([2], first))
        for first in (0, 3)
    ]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), volume, atol=1e-5)
    np.testing.assert_allclose(volume[:, 0], painter()(one_hot(), noise()), atol=1e-5)
    near, far = (np.abs(volume[:, n] - volume[:, 0]).mean() for n in (1, 4))
    assert 0.01 < near < far
    same = painter()(labels, noise()).numpy()
    np.testing.assert_allclose(same, np.repeat(same[:, :1], 6, axis=1), atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("condition", [True, False])
def test_classes_have_their_means(condition, channels):
    found = painter(condition, channels)(one_hot(), noise())
    assert found.shape == (2, 16, 16, channels)
    for image, labels in zip(found.numpy(), one_hot().numpy(), strict=True):
        for number in range(1, 3):  # air is clipped at -1
            inside = image[labels[..., number] > 0]
            np.testing.assert_allclose(inside.mean(axis=0), MEANS[number], atol=0.02)


def test_an_image_is_a_function_of_labels_and_noise_alone():
    """Also beside other images of the batch."""
    paint = painter()
    together = paint(one_hot(), noise())
    alone = paint(one_hot()[1:], noise()[1:])
    np.testing.assert_allclose(together[1], alone[0], atol=1e-5)
    assert not np.allclose(paint(one_hot(), noise(5)), together)


def test_slices_with_one_noise_have_one_field():
    labels = tf.repeat(one_hot()[:1], 2, axis=0)
    found = painter()(labels, tf.repeat(noise()[:1], 2, axis=0))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_noise_of_zeros_without_means_to_hold_starts_from_painted_means():
    """A new denoiser returns the share `skip` of its input, so one step shows the start."""
    found = painter(steps=1, hold_means=False)(one_hot(), tf.zeros([2, 1024]))
    flat = tf.ones([1, 16, 16, 1]) * one_hot(batch=1)[:, :1, :1]
    one = painter(steps=1, hold_means=False)(flat, tf.zeros([1, 1024])).numpy()
    mean = MEANS[np.argmax(flat[0, 0, 0])]
    skip = 1.2**2 / (1.2**2 + 0.4**2)
    np.testing.assert_allclose(one, skip * mean, atol=1e-5)
    assert np.isfinite(found).all()


def test_every_seed_starts_with_noise_of_its_level():
    """Weaker noise would give flat images. A new denoiser shows its share of the start."""
    paint = painter(start="noise", steps=1, hold_means=False)
    paint.denoiser.deviations.assign(np.ones(4))
    images = paint(one_hot(batch=8, size=64), noise(batch=8)).numpy()
    skip = 1 / (1 + 0.4**2)
    np.testing.assert_allclose(images.std(axis=(1, 2, 3)), skip * 0.4, rtol=0.08)


def test_a_start_from_noise_does_not_know_the_means():
    found = painter(start="noise", steps=1, hold_means=False)(one_hot(), tf.zeros([2, 1024]))
    np.testing.assert_array_equal(found, np.zeros([2, 16, 16, 1]))


def test_guidance_of_1_is_the_denoiser_with_labels():
    """And every weight is on the line through both estimates."""
    keep = {"steps": 1, "hold_means": False}
    found = {}
    for weight in (0, 1, 2):
        paint = painter(guidance=weight, **keep)
        rng = np.random.default_rng(0)
        for variable in paint.trainable_weights:
            variable.assign(0.1 * rng.standard_normal(variable.shape))
        found[weight] = paint(one_hot(), 0.1 * noise()).numpy()
    # Images end at -1 and 1.
    inside = np.all([np.abs(image) < 1 for image in found.values()], axis=0)
    assert inside.mean() > 0.9
    steps = (found[2] - found[1])[inside], (found[1] - found[0])[inside]
    np.testing.assert_allclose(*steps, atol=1e-4)
    assert not np.allclose(found[1], found[0], atol=1e-3)


def test_class_means_are_those_of_numpy():
    values = np.random.default_rng(0).normal(size=[2, 16, 16, 2]).astype(np.float32)
    labels = one_hot().numpy()
    found = class_means_of(tf.constant(values), tf.constant(labels)).numpy()
    for image, mean, label in zip(values, found, labels.argmax(-1), strict=True):
        for number in np.unique(label):
            here = label == number
            np.testing.assert_allclose(
                mean[here], np.broadcast_to(image[here].mean(0), mean[here].shape), atol=1e-5
            )


def test_regions_of_few_pixels_are_left_alone():
    labels = np.zeros([1, 16, 16], int)
    labels[0, :3, :5] = 1
    values = tf.ones([1, 16, 16, 1])
    found = class_means_of(values, tf.one_hot(labels, 3)).numpy()[0, ..., 0]
    np.testing.assert_array_equal(found, labels[0] == 0)


def test_classes_of_a_tissue_look_alike_to_the_denoiser():
    table = tissue_table(["air", "fat", "muscle", "fat"])
    expected = np.zeros([4, 4])
    expected[[0, 1, 2, 3], [0, 1, 2, 1]] = 1
    np.testing.assert_array_equal(table, expected)
    paint = painter()
    paint.tissue_of_class.assign(tissue_table(["air", "fat", "fat"]))
    condition = condition_of(paint.shown(tf.one_hot([[[1, 2], [2, 0]]], 3))).numpy()
    np.testing.assert_array_equal(condition.reshape(4, 3).argmax(-1), [1, 1, 1, 0])


def test_noise_is_asked_for():
    with pytest.raises(ValueError, match=r"noise of shape \(batch, 1024\)"):
        painter()(one_hot(), None)

"""The 2.5D generator: what a slice sees, and how its random fields change along the axis."""

import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.models.generators.context import ContextGenerator, DriftingFields
from medusis_tf.models.generators.oasis import OASISGenerator

CLASSES, DEPTH = 3, 6


def made(context=3, noise_length=0.0, **options):
    generator = OASISGenerator(
        context * CLASSES, base_channels=2, num_blocks=3, noise_dim=4, spade_channels=4,
        sparse=False, **options,
    )  # fmt: skip
    generator.build((None, None, None, context * CLASSES), (None, 4))
    for layer in generator.pixel_noises:
        layer.scale.assign(tf.ones_like(layer.scale))
    return ContextGenerator(generator, CLASSES, context, noise_length)


@pytest.fixture
def one_hot():
    labels = np.random.default_rng(0).integers(0, CLASSES, (2, DEPTH, 8, 12))
    return tf.one_hot(labels, CLASSES)


@pytest.fixture
def noise():
    return tf.random.stateless_normal([2, 4], [1, 2])


def test_a_slice_is_that_of_the_generator_of_slices(one_hot, noise):
    model = made(context=3)
    volume = model(one_hot, noise)
    for place in range(DEPTH):
        before, after = max(place - 1, 0), min(place + 1, DEPTH - 1)
        labels = tf.concat([one_hot[:, p] for p in (place, before, after)], axis=-1)
        expected = model.generator(labels, noise)
        np.testing.assert_allclose(volume[:, place], expected, atol=1e-5)


def test_a_slice_sees_its_neighbours_and_no_more(one_hot, noise):
    model = made(context=3)
    changed = tf.concat([one_hot[:, :2], 1 - one_hot[:, 2:3], one_hot[:, 3:]], axis=1)
    difference = np.abs(model(one_hot, noise) - model(changed, noise)).max(axis=(0, 2, 3, 4))
    assert (difference[1:4] > 1e-5).all()
    assert difference[[0, 4, 5]].max() == 0


def test_with_a_margin_only_the_inner_slices_are_painted(one_hot, noise):
    model = made(context=5)
    inner = model(one_hot, noise, has_margin=True)
    assert inner.shape == (2, DEPTH - 4, 8, 12, 1)
    np.testing.assert_allclose(inner, model(one_hot, noise)[:, 2:-2], atol=1e-5)


def test_parts_of_a_volume_fit_together(one_hot, noise):
    model = made(context=1, noise_length=2.5, pixel_noise=True)
    whole = model(one_hot, noise)
    parts = [
        model(one_hot[:, first : first + 2], noise, first_slice=tf.fill([2], first))
        for first in range(0, DEPTH, 2)
    ]
    np.testing.assert_allclose(tf.concat(parts, axis=1), whole, atol=1e-5)


def test_without_length_all_slices_have_the_same_fields(noise):
    model = made(context=1, pixel_noise=True)
    flat = tf.one_hot(tf.ones([2, 3, 8, 12], tf.int32), CLASSES)
    volume = model(flat, noise)
    np.testing.assert_allclose(volume[:, 0], volume[:, 2], atol=1e-6)


def test_fields_change_smoothly_and_keep_their_variance():
    fields = DriftingFields()
    noise = tf.repeat(tf.random.stateless_normal([1, 4], [3, 4]), 41, axis=0)
    fields.places = tf.range(41, dtype=tf.float32) / 8
    drawn = fields(noise, 64, 64, 1).numpy().reshape(41, -1)
    np.testing.assert_allclose(drawn.std(axis=1), 1, atol=0.06)
    correlation = np.corrcoef(drawn)
    np.testing.assert_allclose(np.diag(correlation, 1), np.cos(np.pi / 16), atol=0.03)
    assert np.abs(np.diag(correlation, 16)).max() < 0.08

"""Random numbers of a training step, keyed by seed, step and place in the global batch.

A sample gets the same numbers however many replicas share the batch, and a resumed run the same
as an uninterrupted one: the step number is all the random state there is.
"""

from enum import IntEnum

import tensorflow as tf


class Purpose(IntEnum):
    """What the numbers are for; each purpose has its own stream."""

    GENERATOR_NOISE = 0
    SEGMENTER_NOISE = 1
    DISCRIMINATOR_NOISE = 2
    REAL_TRANSLATION = 3
    SYNTHETIC_TRANSLATION = 4
    REFRESH_NOISE = 5
    PANEL_NOISE = 6
    SYNTHETIC_JITTER = 7
    REAL_JITTER = 8
    DIVERSITY_NOISE = 9
    VALIDATION_NOISE = 10


def step_seed(seed: int, step: tf.Tensor, purpose: Purpose) -> tf.Tensor:
    """The `[2]` int64 seed of one purpose at one step."""
    return tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64) * 16 + int(purpose)])


def draw_noise(
    seed: tf.Tensor, position: tf.Tensor, batch_size: int, noise_shape: tuple[int, ...]
) -> tf.Tensor:
    """Standard normal noise `[batch, *noise_shape]` of the samples at `position`.

    Args:
        seed: From `step_seed`.
        position: `[batch]` indices in the global batch.
        batch_size: Size of the global batch.
        noise_shape: Of the noise of one image.
    """
    return tf.gather(tf.random.stateless_normal([batch_size, *noise_shape], seed), position)


def draw_offsets(
    seed: tf.Tensor, position: tf.Tensor, batch_size: int, limits: tuple[int, int]
) -> tf.Tensor:
    """Whole-pixel offsets `[batch, 2]`, uniform from `-limit` to `limit` for rows and columns."""
    columns = [
        tf.random.stateless_uniform([batch_size], seed + axis * 8, -limit, limit + 1, tf.int32)
        for axis, limit in enumerate(limits)
    ]
    return tf.gather(tf.stack(columns, axis=1), position)

"""Random numbers of a training step, derived from seed, step and position in the global batch.

The numbers of a sample do not depend on the number of replicas. The step number is the only random
state, so a resumed run draws the same numbers as an uninterrupted one.
"""

from enum import IntEnum

import tensorflow as tf


class Purpose(IntEnum):
    """Use of the random numbers. Each purpose has its own stream."""

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
    PSEUDO_PAIR_NOISE = 11
    NOISE_LEVEL = 12
    DIFFUSION_NOISE = 13
    CONDITION_DROPOUT = 14


def step_seed(seed: int, step: tf.Tensor, purpose: Purpose) -> tf.Tensor:
    """Compute the `[2]` int64 seed of one purpose at one step."""
    return tf.stack([tf.constant(seed, tf.int64), tf.cast(step, tf.int64) * 16 + int(purpose)])


def draw_noise(
    seed: tf.Tensor, position: tf.Tensor, batch_size: int, noise_shape: tuple[int, ...]
) -> tf.Tensor:
    """Draw standard normal noise for the samples at `position`.

    Args:
        seed: Result of `step_seed`.
        position: `[batch]` indices in the global batch.
        batch_size: Size of the global batch.
        noise_shape: Shape of the noise of one image.

    Returns:
        `[batch, *noise_shape]` float32.
    """
    return tf.gather(tf.random.stateless_normal([batch_size, *noise_shape], seed), position)


def draw_offsets(
    seed: tf.Tensor, position: tf.Tensor, batch_size: int, limits: tuple[int, int]
) -> tf.Tensor:
    """Draw offsets in pixels for the samples at `position`, uniform from `-limit` to `limit`.

    Args:
        seed: Result of `step_seed`.
        position: `[batch]` indices in the global batch.
        batch_size: Size of the global batch.
        limits: Largest offsets of rows and columns.

    Returns:
        `[batch, 2]` int32, rows and columns.
    """
    columns = [
        tf.random.stateless_uniform([batch_size], seed + axis * 8, -limit, limit + 1, tf.int32)
        for axis, limit in enumerate(limits)
    ]
    return tf.gather(tf.stack(columns, axis=1), position)

"""Keys of the random numbers that a batch is made with."""

from __future__ import annotations

from enum import IntEnum

import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig


class Purpose(IntEnum):
    """What random numbers are for."""

    LABEL_MAP_ORDER = 0
    IMAGE_ORDER = 1
    POSITION = 2
    LABEL_MAP = 3
    IMAGE = 4


def random_key(config: ExperimentConfig, purpose: Purpose, number: tf.Tensor) -> tf.Tensor:
    """A key for stateless random numbers, of the experiment's seed and of no other state.

    Args:
        config: The experiment.
        purpose: Keys of different purposes are independent.
        number: Integer scalar: of the epoch, the sample or the step.

    Returns:
        `[2]` int64.
    """
    seed = tf.constant([config.seed, purpose], tf.int64)
    return tf.random.fold_in(seed, number, "philox")

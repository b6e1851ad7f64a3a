"""What the networks run on."""

import functools

import tensorflow as tf


@functools.cache
def has_gpu() -> bool:
    """Whether TensorFlow has a GPU to run on."""
    return bool(tf.config.list_logical_devices("GPU"))

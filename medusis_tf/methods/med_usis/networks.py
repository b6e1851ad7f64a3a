"""Networks of an experiment, with all their weights, at its precision."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras

from medusis_tf.config.experiment import ExperimentConfig


def build_generator(config: ExperimentConfig, synchronized: bool) -> keras.Model:
    """The generator of an experiment, with all its weights."""
    data = config.data
    with dtype_policy(config.training.precision):
        return config.generator.build(data.num_classes, data.image_channels, synchronized)


def build_segmenter(config: ExperimentConfig) -> keras.Model:
    """The segmenter of an experiment, with all its weights."""
    data = config.data
    with dtype_policy(config.training.precision):
        return config.segmenter.build(data.num_classes, data.image_channels)


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Build networks under a Keras dtype policy, and put the old one back."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)

"""Synthesize the slices of one volume with a network of a method."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.batches.inference import INFERENCE_BATCH_SIZE, batches_of
from medusis_tf.data.batches.tiles import Tiles, without_gaps


def paint_slices(
    network: keras.Model,
    label_map: np.ndarray,
    noise: tf.Tensor | None,
    config: ExperimentConfig,
    slice_indices: np.ndarray | None = None,
) -> np.ndarray:
    """Synthesize slices of one volume, all with the same noise.

    Args:
        network: Network that is called like `Method.painter`.
        label_map: `[slices, height, width]` class ids.
        noise: `[*noise_shape]`, or None for a network without noise.
        config: The experiment.
        slice_indices: `[slices]`, indices of the slices in their volume, where networks of volumes
            find their neighbours; None if they follow each other.

    Returns:
        `[slices, height, width, channels]` float32.
    """
    num_classes = config.data.num_classes
    noises = None if noise is None else noise[tf.newaxis]
    if config.volumes is None:
        images = []
        for batch in batches_of(
            len(label_map), min(config.training.batch_size, INFERENCE_BATCH_SIZE)
        ):
            one_hot = tf.one_hot(label_map[batch], num_classes)
            repeated = None if noises is None else tf.repeat(noises, len(one_hot), axis=0)
            images.append(network(one_hot, repeated, training=False).numpy())
        return np.concatenate(images)

    def paint(tile: np.ndarray, first: int) -> np.ndarray:
        one_hot = tf.one_hot(tile[np.newaxis], num_classes)
        first_slice = tf.constant([first], tf.int32)
        return network(one_hot, noises, training=False, first_slice=first_slice)[0].numpy()

    if slice_indices is None:
        slice_indices = np.arange(len(label_map))
    volume, places = without_gaps(label_map, slice_indices)
    return Tiles.of(config.volumes, network.stride).apply(paint, volume)[places]

"""The endless stream of training batches, in TensorFlow operations only.

The batch of a step is a pure function of the experiment's seed and the step: all randomness is
stateless and keyed by the stream, the epoch and the step, and none depends on TensorFlow's global
seed. Label maps and images are shuffled independently of each other: unpaired.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import tensorflow as tf

from medusis_tf.config.data import Stream
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.conversion import IMAGE_LEVELS
from medusis_tf.data.shards import Shards

# Subjects whose slices are mixed while reading, where a stream is too large to be shuffled whole.
_FILES_AT_ONCE = 16


class _Purpose(IntEnum):
    """What random numbers are for."""

    FILE_ORDER = 0
    SLICE_ORDER = 1
    FLIP = 2


def training_batches(
    config: ExperimentConfig, shards: Shards, start_step: int = 0
) -> tf.data.Dataset:
    """Endless batches of label maps and, unpaired, images of the training split.

    Args:
        config: The experiment.
        shards: Its prepared slices.
        start_step: Number of batches already used. Those of earlier epochs cost nothing to pass
            over, those of the current one are read but not decoded.

    Returns:
        Dataset of `{"label_map": [batch, height, width] uint8, "image": [batch, height, width,
        channels] float32 in [-1, 1]}`, the batch that of all replicas together.
    """
    label_maps = _batched_records(config, shards, "label_map", start_step)
    images = _batched_records(config, shards, "image", start_step)
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return (
        tf.data.Dataset.zip(label_maps, images)
        .enumerate(start=start_step)
        .map(lambda step, records: _decode(config, step, *records), tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
        .with_options(options)
    )


def _batched_records(
    config: ExperimentConfig, shards: Shards, stream: Stream, start_step: int
) -> tf.data.Dataset:
    """Endless batches of undecoded records, from `start_step` on."""
    files = [str(path) for path in shards.files("train", stream)]
    batch_size = config.training.batch_size
    epoch, used = divmod(start_step * batch_size, shards.num_slices("train", stream))
    return (
        tf.data.Dataset.range(epoch, tf.int64.max)
        .flat_map(lambda number: _epoch(config, stream, files, number))
        .skip(used)
        .batch(batch_size, drop_remainder=True)
    )


def _epoch(
    config: ExperimentConfig, stream: Stream, files: Sequence[str], number: tf.Tensor
) -> tf.data.Dataset:
    """Every record of a stream once, shuffled within blocks of `shuffle_buffer` records.

    Blocks are permuted rather than run through `Dataset.shuffle`, whose order depends on the
    global seed too. A stream that fits a block, as most do, is shuffled whole.
    """
    order = _key(config, stream, _Purpose.FILE_ORDER, number)
    paths = tf.random.experimental.stateless_shuffle(tf.constant(files), order, "philox")
    key = _key(config, stream, _Purpose.SLICE_ORDER, number)

    def shuffle(block: tf.Tensor, records: tf.Tensor) -> tf.Tensor:
        seed = tf.random.fold_in(key, block, "philox")
        return tf.random.experimental.stateless_shuffle(records, seed, "philox")

    return (
        tf.data.Dataset.from_tensor_slices(paths)
        .interleave(tf.data.TFRecordDataset, min(_FILES_AT_ONCE, len(files)))
        .batch(config.data.shuffle_buffer)
        .enumerate()
        .map(shuffle)
        .unbatch()
    )


def _decode(
    config: ExperimentConfig, step: tf.Tensor, label_records: tf.Tensor, image_records: tf.Tensor
) -> dict[str, tf.Tensor]:
    shape = [config.training.batch_size, *config.data.image_size]
    label_map = tf.reshape(tf.io.decode_raw(label_records, tf.uint8), shape)
    levels = tf.reshape(tf.io.decode_raw(image_records, tf.uint16), shape)
    image = tf.cast(_flip(config, "image", step, levels), tf.float32) * (2 / IMAGE_LEVELS) - 1
    return {
        "label_map": _flip(config, "label_map", step, label_map),
        "image": tf.repeat(image[..., tf.newaxis], config.data.image_channels, axis=-1),
    }


def _flip(
    config: ExperimentConfig, stream: Stream, step: tf.Tensor, slices: tf.Tensor
) -> tf.Tensor:
    """Swap left and right in half of the slices."""
    if not config.data.flip:
        return slices
    seed = _key(config, stream, _Purpose.FLIP, step)
    chance = tf.random.stateless_uniform([config.training.batch_size, 1, 1], seed, alg="philox")
    return tf.where(chance < 0.5, tf.reverse(slices, axis=[2]), slices)


def _key(
    config: ExperimentConfig, stream: Stream, purpose: _Purpose, number: tf.Tensor
) -> tf.Tensor:
    stream_number = ("label_map", "image").index(stream)
    seed = tf.constant([config.seed, len(_Purpose) * stream_number + purpose], tf.int64)
    return tf.random.fold_in(seed, number, "philox")

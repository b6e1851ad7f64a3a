"""The endless stream of training batches, in TensorFlow operations only.

The batch of a step is a pure function of the experiment's seed and the step: all randomness is
stateless and keyed by the stream, the epoch and the step, and none depends on TensorFlow's global
seed. Records are gathered by number from files that are mapped into memory: any order costs the
same, no shuffle buffer is held, and no more files are open than there are kinds of slices.

The files are variables of TensorFlow. As `ImmutableConst` they would be read whole and copied when
the pipeline starts, by the folding of constants; as captured tensors, by the optimizer of tf.data.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

import numpy as np
import tensorflow as tf

from medusis_tf.config.data import Stream
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.augmentation import augment_image, move_label_map
from medusis_tf.data.manifest import Kind
from medusis_tf.data.processes import processors
from medusis_tf.data.records import FOOTER_BYTES, HEADER_BYTES, map_framed
from medusis_tf.data.shards import Shards, record_bytes
from medusis_tf.errors import UserError

# `nearest_position`: how far from the nearest image, as a fraction of all images in the order of
# their positions, one is drawn.
POSITION_WINDOW = 0.025

# Batches begun beyond one for each processor. They come in order: while one is late, the others
# must not wait. Three per cent faster on two cores than what tf.data tunes itself to.
_BATCHES_AHEAD = 2

_Numbers = dict[Stream, tf.Tensor]


class _Purpose(IntEnum):
    """What random numbers are for."""

    LABEL_MAP_ORDER = 0
    IMAGE_ORDER = 1
    POSITION = 2
    LABEL_MAP = 3
    IMAGE = 4


def training_batches(
    config: ExperimentConfig, shards: Shards, start_step: int = 0, body_mask: bool = False
) -> tf.data.Dataset:
    """Endless batches of label maps and images of the training split.

    How they are matched is `data.pairing`: `unpaired` and `disjoint` shuffle both streams
    independently of each other, `paired` takes both from one slice, and `nearest_position` draws
    images near the label map's relative position in the body.

    Args:
        config: The experiment.
        shards: Its prepared slices.
        start_step: Number of batches already used; passing them over reads nothing.
        body_mask: Whether the body masks of the label maps come too.

    Returns:
        Dataset of `{"label_map": [batch, height, width] uint8, "image": [batch, height, width,
        channels] float32 in [-1, 1]}` and, if asked, `"body_mask": [batch, height, width] uint8`
        of 0 and 1; the batch is that of all replicas together.

    Raises:
        UserError: Pairs are asked for, and none has slices.
    """
    batch = _Batch(config, shards, body_mask)
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return (
        _record_numbers(config, shards, start_step)
        .batch(config.training.batch_size, drop_remainder=True)
        .enumerate(start=start_step)
        .map(batch, processors() + _BATCHES_AHEAD)
        .prefetch(tf.data.AUTOTUNE)
        .with_options(options)
    )


def _record_numbers(config: ExperimentConfig, shards: Shards, start_step: int) -> tf.data.Dataset:
    """Numbers of the records of one sample after the other, for each stream."""
    used = start_step * config.training.batch_size
    pairing = config.data.pairing
    if pairing == "paired":
        both = [entry for entry in shards.subjects("train", "image") if len(entry.streams) == 2]
        if not both:
            raise UserError(
                "data.pairing=paired: no training subject that feeds both streams has a slice "
                "left. Lower data.minimum_foreground, or check that its volumes are not empty."
            )
        pairs: _Numbers = {
            stream: tf.constant(_numbers(both, stream)) for stream in ("label_map", "image")
        }
        order = _shuffled(config, _Purpose.LABEL_MAP_ORDER, len(pairs["image"]), used)
        return order.map(lambda index: {s: tf.gather(n, index) for s, n in pairs.items()})
    label_maps = shards.subjects("train", "label_map")
    numbers = tf.constant(_numbers(label_maps, "label_map"))
    order = _shuffled(config, _Purpose.LABEL_MAP_ORDER, len(numbers), used)
    if pairing == "nearest_position":
        near = _near_images(config, shards)
        positions = tf.constant([p for entry in label_maps for p in entry.positions])
        return order.enumerate(used).map(
            lambda sample, index: {
                "label_map": tf.gather(numbers, index),
                "image": near(sample, tf.gather(positions, index)),
            }
        )
    images = tf.constant(_numbers(shards.subjects("train", "image"), "image"))
    image_order = _shuffled(config, _Purpose.IMAGE_ORDER, len(images), used)
    return tf.data.Dataset.zip(
        {
            "label_map": order.map(lambda index: tf.gather(numbers, index)),
            "image": image_order.map(lambda index: tf.gather(images, index)),
        }
    )


def _numbers(entries: tuple | list, kind: Kind) -> np.ndarray:
    """Numbers of the records of subjects, in the file of one kind."""
    parts = [e.first_record[kind] + np.arange(e.num_slices, dtype=np.int64) for e in entries]
    return np.concatenate(parts)


def _shuffled(
    config: ExperimentConfig, purpose: _Purpose, count: int, used: int
) -> tf.data.Dataset:
    """0 to `count - 1` endlessly, in a new order every epoch, the first `used` left out."""

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count, dtype=tf.int64), _key(config, purpose, number), "philox"
        )
        return tf.data.Dataset.from_tensor_slices(order)

    first, left_out = divmod(used, count)
    return tf.data.Dataset.range(first, tf.int64.max).flat_map(epoch).skip(left_out)


def _near_images(
    config: ExperimentConfig, shards: Shards
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A function that draws the number of an image near a position, for a numbered sample.

    Images that no label map is near are never drawn.
    """
    entries = shards.subjects("train", "image")
    positions = np.concatenate([np.array(entry.positions, np.float32) for entry in entries])
    by_position = np.argsort(positions, kind="stable")
    sorted_positions = tf.constant(positions[by_position])
    numbers = tf.constant(_numbers(entries, "image")[by_position])
    count = len(positions)
    reach = max(1, round(POSITION_WINDOW * count))

    def draw(sample: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        # All images at the very position, and `reach` before and behind them; at the ends the
        # window is moved, not cut.
        first, behind = (
            tf.searchsorted(sorted_positions, position[tf.newaxis], side)[0]
            for side in ("left", "right")
        )
        lowest = tf.maximum(tf.minimum(first - reach, count - 2 * reach), 0)
        highest = tf.minimum(tf.maximum(behind + reach, 2 * reach), count)
        key = _key(config, _Purpose.POSITION, sample)
        chosen = tf.random.stateless_uniform([], key, lowest, highest, tf.int32, "philox")
        return tf.gather(numbers, chosen)

    return draw


class _Batch:
    """Makes the batch of a step from the numbers of its records."""

    def __init__(self, config: ExperimentConfig, shards: Shards, body_mask: bool):
        self._config = config
        self._shards = shards
        self._body_mask = body_mask
        kinds: tuple[Kind, ...] = ("label_map", "image")
        if body_mask:
            kinds += ("body_mask",)
        self._records = {kind: _as_variable(shards, kind) for kind in kinds}

    def __call__(self, step: tf.Tensor, numbers: _Numbers) -> dict[str, tf.Tensor]:
        config, augmentation = self._config, self._config.data.augmentation
        shape = [config.training.batch_size, *config.data.image_size]
        label_seed = _key(config, _Purpose.LABEL_MAP, step)
        paired = config.data.pairing == "paired"
        image_seed = label_seed if paired else _key(config, _Purpose.IMAGE, step)
        label_map = tf.reshape(self._gather("label_map", numbers["label_map"]), shape)
        levels = tf.reshape(self._gather("image", numbers["image"]), [*shape, 2])
        image = augment_image(tf.bitcast(levels, tf.uint16), image_seed, augmentation)
        batch = {
            "label_map": move_label_map(label_map, label_seed, augmentation),
            "image": tf.repeat(image[..., tf.newaxis], config.data.image_channels, axis=-1),
        }
        if self._body_mask:
            mask = _unpacked(self._gather("body_mask", numbers["label_map"]), shape)
            batch["body_mask"] = move_label_map(mask, label_seed, augmentation)
        return batch

    def _gather(self, kind: Kind, numbers: tf.Tensor) -> tf.Tensor:
        """`[batch, record bytes]` uint8."""
        # Read first: a variable that is gathered from by itself is copied.
        records = tf.gather(self._records[kind].read_value(), numbers)
        return records if self._shards.folder is None else records[:, HEADER_BYTES:-FOOTER_BYTES]


def _as_variable(shards: Shards, kind: Kind) -> tf.Variable:
    """All records of a kind, framed if they lie in a file: then it is mapped, and not read."""
    with tf.device("CPU:0"):
        if shards.folder is None:
            return tf.Variable(tf.constant(shards.arrays[kind]), trainable=False)
        path = shards.folder / shards.records.files[kind].path
        file = map_framed(path, record_bytes(kind, shards.records.image_size))
        shared = tf.experimental.dlpack.from_dlpack(file.__dlpack__())
        return tf.Variable(shared, trainable=False)


def _unpacked(packed: tf.Tensor, shape: list[int]) -> tf.Tensor:
    """Eight pixels of each byte, the first in the highest bit."""
    shifts = tf.constant([7, 6, 5, 4, 3, 2, 1, 0], tf.uint8)
    bits = tf.bitwise.right_shift(packed[..., tf.newaxis], shifts) & 1
    batch, height, width = shape
    return tf.reshape(tf.reshape(bits, [batch, -1])[:, : height * width], shape)


def _key(config: ExperimentConfig, purpose: _Purpose, number: tf.Tensor) -> tf.Tensor:
    seed = tf.constant([config.seed, purpose], tf.int64)
    return tf.random.fold_in(seed, number, "philox")

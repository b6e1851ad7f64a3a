"""Which records are shown in which order: `data.pairing`, in TensorFlow operations only."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from medusis_tf.config.data import Stream
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.manifest import Kind, SubjectRecord
from medusis_tf.data.pairing import paired_subjects
from medusis_tf.data.random_key import Purpose, random_key
from medusis_tf.data.shards import Shards

# `nearest_position`: how far from the nearest image, as a fraction of all images in the order of
# their positions, one is drawn.
POSITION_WINDOW = 0.025

Numbers = dict[str, tf.Tensor]

_ORDER: dict[Stream, Purpose] = {
    "label_map": Purpose.LABEL_MAP_ORDER,
    "image": Purpose.IMAGE_ORDER,
}


def record_order(config: ExperimentConfig, shards: Shards, start_step: int = 0) -> tf.data.Dataset:
    """Numbers of the records of one sample after the other, endlessly.

    Args:
        config: The experiment.
        shards: Its prepared slices.
        start_step: Number of batches already used; passing them over reads nothing.

    Returns:
        Dataset of `{"label_map": [] int64, "image": [] int64}`, places of records in the file of
        each kind; with `paired` and `semi_supervised` `"is_paired": [] bool` too.

    Raises:
        UserError: Pairs are asked for, and none has slices.
    """
    used = start_step * config.training.batch_size
    pairs = paired_subjects(config, shards)
    pairing = config.data.pairing
    if pairing in ("paired_sampling", "paired"):
        return _pairs(config, pairs, used)
    if pairing == "semi_supervised":
        return _semi_supervised(config, shards, pairs, used)
    if pairing == "nearest_position":
        return _near_each_other(config, shards, used)
    streams = {
        "label_map": _shuffled_numbers(config, shards, "label_map", used),
        "image": _shuffled_numbers(config, shards, "image", used),
    }
    return tf.data.Dataset.zip(streams)


def _pairs(
    config: ExperimentConfig, subjects: Sequence[SubjectRecord], used: int
) -> tf.data.Dataset:
    """Label map and image of one slice."""
    label_maps, images = (tf.constant(_numbers(subjects, k)) for k in ("label_map", "image"))
    order = _shuffled(config, Purpose.LABEL_MAP_ORDER, len(images), used)

    def sample(index: tf.Tensor) -> Numbers:
        numbers = {"label_map": tf.gather(label_maps, index), "image": tf.gather(images, index)}
        if config.data.pairing == "paired":
            numbers["is_paired"] = tf.constant(True)
        return numbers

    return order.map(sample)


def _semi_supervised(
    config: ExperimentConfig, shards: Shards, pairs: Sequence[SubjectRecord], used: int
) -> tf.data.Dataset:
    """Every label map once in an epoch, with its own image or with one drawn from all.

    Both streams are shuffled as without pairs; what is drawn for a label map that has its own
    image is passed over.
    """
    entries = shards.subjects("train", "label_map")
    label_maps = tf.constant(_numbers(entries, "label_map"))
    paired = {entry.subject for entry in pairs}
    # Where a label map has no image of its own, -1.
    own = tf.constant(
        np.concatenate(
            [
                _numbers([e], "image") if e.subject in paired else np.full(e.num_slices, -1)
                for e in entries
            ]
        )
    )
    order = _shuffled(config, Purpose.LABEL_MAP_ORDER, len(label_maps), used)
    drawn = _shuffled_numbers(config, shards, "image", used)

    def sample(index: tf.Tensor, any_image: tf.Tensor) -> Numbers:
        own_image = tf.gather(own, index)
        is_paired = own_image >= 0
        return {
            "label_map": tf.gather(label_maps, index),
            "image": tf.where(is_paired, own_image, any_image),
            "is_paired": is_paired,
        }

    return tf.data.Dataset.zip((order, drawn)).map(sample)


def _near_each_other(config: ExperimentConfig, shards: Shards, used: int) -> tf.data.Dataset:
    """Every label map once in an epoch, with an image near its position."""
    entries = shards.subjects("train", "label_map")
    label_maps = tf.constant(_numbers(entries, "label_map"))
    positions = tf.constant([p for entry in entries for p in entry.positions])
    near = _near_images(config, shards)
    order = _shuffled(config, Purpose.LABEL_MAP_ORDER, len(label_maps), used)
    return order.enumerate(used).map(
        lambda sample, index: {
            "label_map": tf.gather(label_maps, index),
            "image": near(sample, tf.gather(positions, index)),
        }
    )


def _numbers(entries: Sequence[SubjectRecord], kind: Kind) -> np.ndarray:
    """Numbers of the records of subjects, in the file of one kind."""
    parts = [e.first_record[kind] + np.arange(e.num_slices, dtype=np.int64) for e in entries]
    return np.concatenate(parts)


def _shuffled_numbers(
    config: ExperimentConfig, shards: Shards, stream: Stream, used: int
) -> tf.data.Dataset:
    """Numbers of all training records of a stream, in a new order every epoch."""
    numbers = tf.constant(_numbers(shards.subjects("train", stream), stream))
    order = _shuffled(config, _ORDER[stream], len(numbers), used)
    return order.map(lambda index: tf.gather(numbers, index))


def _shuffled(config: ExperimentConfig, purpose: Purpose, count: int, used: int) -> tf.data.Dataset:
    """0 to `count - 1` endlessly, in a new order every epoch, the first `used` left out."""

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count, dtype=tf.int64), random_key(config, purpose, number), "philox"
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
        key = random_key(config, Purpose.POSITION, sample)
        chosen = tf.random.stateless_uniform([], key, lowest, highest, tf.int32, "philox")
        return tf.gather(numbers, chosen)

    return draw

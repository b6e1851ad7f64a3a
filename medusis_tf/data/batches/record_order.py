"""The order of the training slices, by `data.pairing`, in TensorFlow operations only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from enum import IntEnum

import numpy as np
import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.subject import Stream
from medusis_tf.data.batches.neighbours import check_sequences, first_places
from medusis_tf.data.shards.manifest import Kind, SubjectRecord
from medusis_tf.data.shards.shards import Shards
from medusis_tf.errors import UserError

# `nearest_position` draws images at most this far from the nearest one, as a fraction of all images
# sorted by position.
POSITION_WINDOW = 0.025

Numbers = dict[str, tf.Tensor]


class Purpose(IntEnum):
    """Purpose of random numbers."""

    LABEL_MAP_ORDER = 0
    IMAGE_ORDER = 1
    POSITION = 2
    LABEL_MAP = 3
    IMAGE = 4


_ORDER: dict[Stream, Purpose] = {
    "label_map": Purpose.LABEL_MAP_ORDER,
    "image": Purpose.IMAGE_ORDER,
}


def record_order(
    config: ExperimentConfig, shards: Shards, start_step: int = 0, depth: int = 1
) -> tf.data.Dataset:
    """Numbers of the slices of one sample after the other, endlessly.

    Args:
        config: The experiment.
        shards: Its prepared slices.
        start_step: Number of batches already used. Skipping them reads nothing.
        depth: Slices of a sample. The numbers are those of its first slice.

    Returns:
        Dataset of `{"label_map": [] int64, "image": [] int64}`, the positions of slices in the
        file of each kind; with `paired` and `semi_supervised` also `"is_paired": [] bool`.

    Raises:
        UserError: The pairing needs pairs, but none has slices; or no subject has `depth`
            neighbouring slices.
    """
    used = start_step * config.training.batch_size
    pairs = paired_subjects(config, shards)
    pairing = config.data.pairing
    if pairing in ("paired_sampling", "paired"):
        return _pairs(config, pairs, used, depth)
    if pairing == "semi_supervised":
        return _semi_supervised(config, shards, pairs, used, depth)
    if pairing == "nearest_position":
        return _near_each_other(config, shards, used, depth)
    streams = {
        "label_map": _shuffled_numbers(config, shards, "label_map", used, depth),
        "image": _shuffled_numbers(config, shards, "image", used, depth),
    }
    return tf.data.Dataset.zip(streams)


def _pairs(
    config: ExperimentConfig, subjects: Sequence[SubjectRecord], used: int, depth: int
) -> tf.data.Dataset:
    """Label map and image of the same slice."""
    label_maps, images = (tf.constant(_numbers(subjects, k, depth)) for k in ("label_map", "image"))
    order = _shuffled(config, Purpose.LABEL_MAP_ORDER, len(images), used)

    def sample(index: tf.Tensor) -> Numbers:
        numbers = {"label_map": tf.gather(label_maps, index), "image": tf.gather(images, index)}
        if config.data.pairing == "paired":
            numbers["is_paired"] = tf.constant(True)
        return numbers

    return order.map(sample)


def _semi_supervised(
    config: ExperimentConfig,
    shards: Shards,
    pairs: Sequence[SubjectRecord],
    used: int,
    depth: int,
) -> tf.data.Dataset:
    """Every label map once per epoch, with its own image or with one drawn from all images.

    Both streams are shuffled as without pairs. An image drawn for a label map that has its own
    image is skipped.
    """
    entries = shards.subjects("train", "label_map")
    label_maps = tf.constant(_numbers(entries, "label_map", depth))
    paired = {entry.subject for entry in pairs}
    # -1 where a label map has no image of its own.
    first = {e.subject: e.first_record["image"] if e.subject in paired else -1 for e in entries}
    own = tf.constant(
        np.concatenate(
            [
                first[e.subject] + (places if e.subject in paired else 0 * places)
                for e in entries
                for places in [first_places(e, depth)]
            ]
        )
    )
    order = _shuffled(config, Purpose.LABEL_MAP_ORDER, len(label_maps), used)
    drawn = _shuffled_numbers(config, shards, "image", used, depth)

    def sample(index: tf.Tensor, any_image: tf.Tensor) -> Numbers:
        own_image = tf.gather(own, index)
        is_paired = own_image >= 0
        return {
            "label_map": tf.gather(label_maps, index),
            "image": tf.where(is_paired, own_image, any_image),
            "is_paired": is_paired,
        }

    return tf.data.Dataset.zip((order, drawn)).map(sample)


def _near_each_other(
    config: ExperimentConfig, shards: Shards, used: int, depth: int
) -> tf.data.Dataset:
    """Every label map once per epoch, with an image near its position."""
    entries = shards.subjects("train", "label_map")
    label_maps = tf.constant(_numbers(entries, "label_map", depth))
    positions = tf.constant(_positions(entries, depth))
    near = _near_images(config, shards, depth)
    order = _shuffled(config, Purpose.LABEL_MAP_ORDER, len(label_maps), used)
    return order.enumerate(used).map(
        lambda sample, index: {
            "label_map": tf.gather(label_maps, index),
            "image": near(sample, tf.gather(positions, index)),
        }
    )


def _numbers(entries: Sequence[SubjectRecord], kind: Kind, depth: int) -> np.ndarray:
    """Numbers of the first slices of all samples of subjects, in the file of one kind.

    Raises:
        UserError: No subject has `depth` neighbouring slices.
    """
    check_sequences(entries, kind, depth)
    return np.concatenate([e.first_record[kind] + first_places(e, depth) for e in entries])


def _positions(entries: Sequence[SubjectRecord], depth: int) -> np.ndarray:
    """Positions in the body of the first slices of all samples, `[count]` float32."""
    parts = [np.array(e.positions, np.float32)[first_places(e, depth)] for e in entries]
    return np.concatenate(parts)


def _shuffled_numbers(
    config: ExperimentConfig, shards: Shards, stream: Stream, used: int, depth: int
) -> tf.data.Dataset:
    """Numbers of all training samples of a stream, in a new order every epoch."""
    numbers = tf.constant(_numbers(shards.subjects("train", stream), stream, depth))
    order = _shuffled(config, _ORDER[stream], len(numbers), used)
    return order.map(lambda index: tf.gather(numbers, index))


def _shuffled(config: ExperimentConfig, purpose: Purpose, count: int, used: int) -> tf.data.Dataset:
    """0 to `count - 1` endlessly, in a new order every epoch, without the first `used`."""

    def epoch(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count, dtype=tf.int64), random_key(config, purpose, number), "philox"
        )
        return tf.data.Dataset.from_tensor_slices(order)

    first, skipped = divmod(used, count)
    return tf.data.Dataset.range(first, tf.int64.max).flat_map(epoch).skip(skipped)


def _near_images(
    config: ExperimentConfig, shards: Shards, depth: int
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Return a function that draws the number of an image near a position, for a sample number.

    Images that are near no label map are never drawn.
    """
    entries = shards.subjects("train", "image")
    positions = _positions(entries, depth)
    by_position = np.argsort(positions, kind="stable")
    sorted_positions = tf.constant(positions[by_position])
    numbers = tf.constant(_numbers(entries, "image", depth)[by_position])
    count = len(positions)
    reach = max(1, round(POSITION_WINDOW * count))

    def draw(sample: tf.Tensor, position: tf.Tensor) -> tf.Tensor:
        # All images at the same position, and `reach` before and after them; at the ends, the
        # window is moved, not cropped.
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


def paired_subjects(config: ExperimentConfig, shards: Shards) -> tuple[SubjectRecord, ...]:
    """The training subjects whose label maps come with their own images, in the configured order.

    With `semi_supervised`, they are the fraction `data.paired_fraction` of the subjects that
    provide both streams, rounded, and at least one. The choice depends only on the seed and the
    names of the subjects. A larger fraction contains the subjects of a smaller one.

    Args:
        config: The experiment.
        shards: Its prepared slices.

    Returns:
        The subjects; empty for pairings that draw label maps and images separately.

    Raises:
        UserError: The pairing needs pairs, but none has slices.
    """
    if not config.data.draws_pairs:
        return ()
    both = [entry for entry in shards.subjects("train", "image") if len(entry.streams) == 2]
    if not both:
        raise UserError(
            f"data.pairing={config.data.pairing}: no training subject with label map and image has "
            "a slice left. Lower data.minimum_foreground, or check that its volumes are not empty."
        )
    fraction = config.data.paired_fraction
    if fraction is None:
        return tuple(both)
    ranked = sorted(both, key=lambda entry: _rank(config.seed, entry.subject))
    chosen = {entry.subject for entry in ranked[: max(1, round(fraction * len(both)))]}
    return tuple(entry for entry in both if entry.subject in chosen)


def _rank(seed: int, subject: str) -> bytes:
    return hashlib.sha256(f"{seed} {subject}".encode()).digest()


def random_key(config: ExperimentConfig, purpose: Purpose, number: tf.Tensor) -> tf.Tensor:
    """Key for stateless random numbers, which depends on the experiment's seed and no other state.

    Args:
        config: The experiment.
        purpose: Purpose of the numbers. Keys of different purposes are independent.
        number: Integer scalar: the number of the epoch, the sample or the step.

    Returns:
        `[2]` int64.
    """
    seed = tf.constant([config.seed, purpose], tf.int64)
    return tf.random.fold_in(seed, number, "philox")

"""The endless stream of training batches, in TensorFlow operations only.

The batch of a step is a pure function of the experiment's seed and the step: all randomness is
stateless and keyed by the stream, the epoch and the step, and none depends on TensorFlow's global
seed. Records are gathered by number from files that are mapped into memory: any order costs the
same, no shuffle buffer is held, and no more files are open than there are kinds of slices.

The files are variables of TensorFlow. As `ImmutableConst` they would be read whole and copied when
the pipeline starts, by the folding of constants; as captured tensors, by the optimizer of tf.data.
"""

from __future__ import annotations

import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.batches.augmentation import augment_image, move_label_map
from medusis_tf.data.batches.record_order import Numbers, Purpose, random_key, record_order
from medusis_tf.data.preparing.processes import processors
from medusis_tf.data.shards.manifest import Kind
from medusis_tf.data.shards.records import FOOTER_BYTES, HEADER_BYTES, map_framed
from medusis_tf.data.shards.shards import Shards, record_bytes

# Batches begun beyond one for each processor. They come in order: while one is late, the others
# must not wait. Three per cent faster on two cores than what tf.data tunes itself to.
_BATCHES_AHEAD = 2


def training_batches(
    config: ExperimentConfig, shards: Shards, start_step: int = 0, body_mask: bool = False
) -> tf.data.Dataset:
    """Endless batches of label maps and images of the training split.

    How they are matched is `data.pairing`:

    - `unpaired` and `disjoint` shuffle both streams independently of each other;
    - `nearest_position` draws images near the label map's relative position in the body;
    - `paired_sampling` and `paired` take both from one slice, moved alike;
    - `semi_supervised` does so for the label maps of `paired_subjects`; every other one comes with
      an image drawn from all, moved as the label map is.

    Args:
        config: The experiment.
        shards: Its prepared slices.
        start_step: Number of batches already used; passing them over reads nothing.
        body_mask: Whether the body masks of the label maps come too.

    Returns:
        Dataset of `{"label_map": [batch, height, width] uint8, "image": [batch, height, width,
        channels] float32 in [-1, 1]}`; if asked, `"body_mask": [batch, height, width] uint8` of 0
        and 1; with `paired` and `semi_supervised` `"is_paired": [batch] bool`, whether the image
        is the label map's own and may be compared with it. The batch is that of all replicas
        together.

    Raises:
        UserError: Pairs are asked for, and none has slices.
    """
    batch = _Batch(config, shards, body_mask)
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return (
        record_order(config, shards, start_step)
        .batch(config.training.batch_size, drop_remainder=True)
        .enumerate(start=start_step)
        .map(batch, processors() + _BATCHES_AHEAD)
        .prefetch(tf.data.AUTOTUNE)
        .with_options(options)
    )


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

    def __call__(self, step: tf.Tensor, numbers: Numbers) -> dict[str, tf.Tensor]:
        config, augmentation = self._config, self._config.data.augmentation
        shape = [config.training.batch_size, *config.data.image_size]
        label_seed = random_key(config, Purpose.LABEL_MAP, step)
        # Pairs must be moved alike, and an image of another slice may be.
        alike = config.data.draws_pairs
        image_seed = label_seed if alike else random_key(config, Purpose.IMAGE, step)
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
        if "is_paired" in numbers:
            batch["is_paired"] = numbers["is_paired"]
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

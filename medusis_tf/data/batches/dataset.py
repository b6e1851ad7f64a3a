"""The endless stream of training batches, in TensorFlow operations only.

The batch of a step is a pure function of the experiment's seed and the step: all randomness is
stateless, keyed by the stream, the epoch and the step, and independent of TensorFlow's global
seed. Slices are gathered by number from files that are mapped into memory. Any order costs the
same, there is no shuffle buffer, and no more files are open than there are kinds of slices.

The files are variables of TensorFlow. As `ImmutableConst`, they would be read and copied as a whole
when the pipeline starts, by constant folding; as captured tensors, by the optimizer of tf.data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.batches.augmentation import Rows, augment_image, move_label_map
from medusis_tf.data.batches.neighbours import neighbours_of, sample_numbers
from medusis_tf.data.batches.record_order import Numbers, Purpose, random_key, record_order
from medusis_tf.data.preparing.processes import processors
from medusis_tf.data.shards.field_of_view import views_of_slices
from medusis_tf.data.shards.manifest import Kind
from medusis_tf.data.shards.shards import Shards
from medusis_tf.data.shards.slice_files import map_shared

# Batches in preparation beyond one per processor. They are delivered in order: while one is late,
# the others must not wait. On two cores 3% faster than the automatic choice of tf.data.
_BATCHES_AHEAD = 2
# Pseudo-label of pixels whose class is hidden or unknown.
HIDDEN = 255


def training_batches(
    config: ExperimentConfig,
    shards: Shards,
    start_step: int = 0,
    body_mask: bool = False,
    field_of_view: bool = False,
    positions: Sequence[int] | None = None,
    pseudo_labels: Mapping[str, np.ndarray] | None = None,
) -> tf.data.Dataset:
    """Endless batches of label maps and images of the training split.

    `data.pairing` determines how they are matched:

    - `unpaired` and `disjoint` shuffle both streams independently.
    - `nearest_position` draws images near the relative position of the label map in the body.
    - `paired_sampling` and `paired` take both from one slice, with the same geometric changes.
    - `semi_supervised` does so for the label maps of `paired_subjects`, and draws an image from all
      for the others, with the same geometric changes.

    Args:
        config: The experiment.
        shards: Its prepared slices.
        start_step: Number of batches already used. Skipping them reads nothing.
        body_mask: Whether batches contain the body masks of the label maps.
        field_of_view: Whether batches contain the fields of view of label maps and images.
        positions: Samples of each batch that are made, by their position in it; None for all.
            Together, machines that share the positions make the same batches as one.
        pseudo_labels: Class ids found in training images, `[slices, height, width]` uint8 by name
            of the subject. Batches then contain those of their images.

    Returns:
        Dataset of `{"label_map": [batch, height, width] uint8, "image": [batch, height, width,
        channels] float32 in [-1, 1]}`; on request `"body_mask": [batch, height, width] uint8` of 0
        and 1, and `"field_of_view"` and `"image_field_of_view"` of the same shape, 0 outside the
        volume of the label map or image; with `paired` and `semi_supervised` `"is_paired": [batch]
        bool`, true where the image belongs to the label map and may be compared with it; and
        `"pseudo_labels": [batch, height, width] uint8` if there are some. The batch is that of all
        replicas together, or what `positions` choose of it.

        With `config.volumes`, all tensors but `is_paired` have a second axis, of neighbouring
        slices, which are moved and changed alike. If the generator sees neighbours,
        `"label_context": [batch, depth + 2 * margin, height, width]` uint8 are the label maps with
        those before and after them.

    Raises:
        UserError: No pair has slices, or an earlier version wrote them; or no subject has enough
            neighbouring slices.
    """
    batch = _Batch(config, shards, body_mask, field_of_view, positions, pseudo_labels)
    options = tf.data.Options()
    options.deterministic = True
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return (
        record_order(config, shards, start_step, neighbours_of(config).depth)
        .batch(config.training.batch_size, drop_remainder=True)
        .enumerate(start=start_step)
        .map(batch, processors() + _BATCHES_AHEAD)
        .prefetch(tf.data.AUTOTUNE)
        .with_options(options)
    )


class _Batch:
    """Makes the batch of a step from the numbers of its slices."""

    def __init__(
        self,
        config: ExperimentConfig,
        shards: Shards,
        body_mask: bool,
        field_of_view: bool,
        positions: Sequence[int] | None,
        pseudo_labels: Mapping[str, np.ndarray] | None = None,
    ):
        self._config = config
        self._body_mask = body_mask
        size = config.training.batch_size
        given = tuple(range(size)) if positions is None else tuple(positions)
        self._rows = None if len(given) == size else Rows(given, size)
        self._neighbours = neighbours = neighbours_of(config)
        if neighbours.depth > 1:
            self._samples = {
                "label_map": tf.constant(sample_numbers(shards, "label_map", *neighbours)),
                "image": tf.constant(sample_numbers(shards, "image", neighbours.depth)),
            }
            # All slices of a sample are changed alike.
            self._slice_rows = Rows(tuple(np.repeat(given, neighbours.depth)), size)
            count = neighbours.depth + 2 * neighbours.margin
            self._context_rows = Rows(tuple(np.repeat(given, count)), size)
        self._views = views_of_slices(shards, config.data) if field_of_view else None
        kinds: tuple[Kind, ...] = ("label_map", "image")
        if body_mask:
            kinds += ("body_mask",)
        self._slices = {kind: _as_variable(shards, kind) for kind in kinds}
        self._pseudo_labels = None
        if pseudo_labels is not None:
            with tf.device("CPU:0"):
                in_order = _in_order(shards, pseudo_labels)
                self._pseudo_labels = tf.Variable(tf.constant(in_order), trainable=False)

    def __call__(self, step: tf.Tensor, numbers: Numbers) -> dict[str, tf.Tensor]:
        if self._rows is not None:
            positions = self._rows.positions
            numbers = {name: tf.gather(each, positions) for name, each in numbers.items()}
        if self._neighbours.depth == 1:
            batch = self._make(step, numbers["label_map"], numbers["image"], self._rows)
        else:
            batch = self._make_samples(step, numbers["label_map"], numbers["image"])
        if "is_paired" in numbers:
            batch["is_paired"] = numbers["is_paired"]
        return batch

    def _make_samples(
        self, step: tf.Tensor, first_label_map: tf.Tensor, first_image: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Samples of neighbouring slices, from the numbers of their first slices, `[batch]`."""
        depth, margin = self._neighbours
        context = tf.gather(self._samples["label_map"], first_label_map)
        label_maps = context[:, margin : margin + depth]
        images = tf.gather(self._samples["image"], first_image)
        slices = self._make(
            step, tf.reshape(label_maps, [-1]), tf.reshape(images, [-1]), self._slice_rows
        )
        batch = {
            name: tf.reshape(each, [-1, depth, *each.shape[1:]]) for name, each in slices.items()
        }
        if margin > 0:
            seed, augmentation = self._seeds(step)[0], self._config.data.augmentation
            found = self._gather("label_map", tf.reshape(context, [-1]))
            moved = move_label_map(found, seed, augmentation, self._context_rows)
            shape = [-1, depth + 2 * margin, *moved.shape[1:]]
            batch["label_context"] = tf.reshape(moved, shape)
        return batch

    def _make(
        self,
        step: tf.Tensor,
        label_map_numbers: tf.Tensor,
        image_numbers: tf.Tensor,
        rows: Rows | None,
    ) -> dict[str, tf.Tensor]:
        """Slices from their numbers, `[slices]`."""
        config, augmentation = self._config, self._config.data.augmentation
        label_seed, image_seed = self._seeds(step)
        label_map = self._gather("label_map", label_map_numbers)
        levels = self._gather("image", image_numbers)
        image = augment_image(levels, image_seed, augmentation, rows)
        batch = {
            "label_map": move_label_map(label_map, label_seed, augmentation, rows),
            "image": tf.repeat(image[..., tf.newaxis], config.data.image_channels, axis=-1),
        }
        if self._body_mask:
            mask = _unpacked(self._gather("body_mask", label_map_numbers), label_map.shape)
            batch["body_mask"] = move_label_map(mask, label_seed, augmentation, rows)
        if self._views is not None:
            masks, mask_of_slice = self._views
            for name, kind, numbers, seed in (
                ("field_of_view", "label_map", label_map_numbers, label_seed),
                ("image_field_of_view", "image", image_numbers, image_seed),
            ):
                view = tf.gather(masks, tf.gather(mask_of_slice[kind], numbers))
                batch[name] = move_label_map(view, seed, augmentation, rows)
        if self._pseudo_labels is not None:
            found = tf.gather(self._pseudo_labels.read_value(), image_numbers)
            batch["pseudo_labels"] = move_label_map(found, image_seed, augmentation, rows)
        return batch

    def _seeds(self, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Seeds of label maps and of images. Pairs must be moved alike; others may be."""
        label_seed = random_key(self._config, Purpose.LABEL_MAP, step)
        if self._config.data.draws_pairs:
            return label_seed, label_seed
        return label_seed, random_key(self._config, Purpose.IMAGE, step)

    def _gather(self, kind: Kind, numbers: tf.Tensor) -> tf.Tensor:
        """The stored slices, `[batch, ...]`."""
        # Read first: gathering from the variable itself copies it.
        return tf.gather(self._slices[kind].read_value(), numbers)


def _as_variable(shards: Shards, kind: Kind) -> tf.Variable:
    """All slices of a kind. A file is mapped into memory, not read."""
    with tf.device("CPU:0"):
        if shards.folder is None:
            return tf.Variable(tf.constant(shards.arrays[kind]), trainable=False)
        slices = map_shared(shards.folder / shards.records.files[kind].path)
        shared = tf.experimental.dlpack.from_dlpack(slices.__dlpack__())
        return tf.Variable(shared, trainable=False)


def _in_order(shards: Shards, pseudo_labels: Mapping[str, np.ndarray]) -> np.ndarray:
    """Labels of all images in the order of their file; hidden where there are none."""
    found = np.full((len(shards.arrays["image"]), *shards.records.image_size), HIDDEN, np.uint8)
    for record in shards.records.subjects:
        if record.subject in pseudo_labels:
            first = record.first_record["image"]
            found[first : first + record.num_slices] = pseudo_labels[record.subject]
    return found


def _unpacked(packed: tf.Tensor, shape: tf.TensorShape) -> tf.Tensor:
    """Body masks of 0 and 1: eight pixels of each byte, the first in the highest bit."""
    shifts = tf.constant([7, 6, 5, 4, 3, 2, 1, 0], tf.uint8)
    bits = tf.bitwise.right_shift(packed[..., tf.newaxis], shifts) & 1
    batch, height, width = shape
    return tf.reshape(tf.reshape(bits, [batch, -1])[:, : height * width], shape)

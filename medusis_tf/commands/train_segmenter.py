"""Train an independent segmenter: `medusis train-segmenter --config FILE --out FILE`.

It is trained on real images and their label maps only: the training subjects that have both
volumes. If the images of these subjects are not streamed to the GAN (`streams: [label_map]`), the
GAN and the segmenter share no images. Subjects of the test split are never read. Use the result
with `medusis evaluate --run DIR --segmenter FILE`.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from medusis_tf.commands.options import ConfigOption, OverridesArgument
from medusis_tf.config.augmentation import AugmentationConfig
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import load_config
from medusis_tf.methods.med_usis.config import require_med_usis

if TYPE_CHECKING:
    import tensorflow as tf

    from medusis_tf.data.shards.shards import Shards
    from medusis_tf.metrics.independent_segmenter import IndependentSegmenter

logger = logging.getLogger(__name__)

AUGMENTATION = AugmentationConfig(
    rotation_degrees=10, scale=0.15, translation=0.1, gamma=0.4, bias_field=0.3
)
# Largest standard deviation of the noise added to images, so that grain does not identify classes.
NOISE = 0.1
LEARNING_RATE = 1e-3
LOG_INTERVAL = 100
# Slices in memory: one gigabyte at 256x256.
MAX_SLICES = 4000
HELD_OUT_FRACTION = 0.2


@dataclass(frozen=True, eq=False)
class Pairs:
    """Slices of label maps and images on the same grid.

    Attributes:
        label_map: `[slices, height, width]` uint8.
        image: `[slices, height, width]` float32 in [-1, 1].
    """

    label_map: np.ndarray
    image: np.ndarray


def train_segmenter(
    config: ConfigOption,
    out: Annotated[Path, typer.Option(help="File to write, NAME.weights.h5.")],
    overrides: OverridesArgument = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 1500,
    batch_size: Annotated[int, typer.Option(min=1, help="Slices per step.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, order and augmentation.")] = 0,
) -> None:
    """Train a segmenter on the real image pairs of the training subjects and write its weights.

    A JSON file beside the weights records the training data and the Dice on held-out slices. These
    are the slices of the validation subjects, or the middle fifth of each training subject if there
    are no validation subjects.
    """
    experiment = load_config(config, overrides or [])
    from medusis_tf.data.preparing.preparation import prepare_shards
    from medusis_tf.metrics.independent_segmenter import record_path

    record_path(out)  # an invalid name is reported before training
    shards = prepare_shards(experiment, jobs=None)
    segmenter = fit_segmenter(experiment, shards, steps, batch_size, seed)
    segmenter.save(out)
    dice = ", ".join(
        f"{name} {value:.3f}" for name, value in segmenter.record.held_out_dice.items()
    )
    logger.info("Dice on %s: %s", segmenter.record.held_out, dice)
    logger.info("wrote %s", out)


def fit_segmenter(
    config: ExperimentConfig, shards: "Shards", steps: int, batch_size: int = 8, seed: int = 0
) -> "IndependentSegmenter":
    """Train a segmenter on the real image pairs of the training subjects.

    Args:
        config: Experiment with the classes, slices and segmenter network.
        shards: Prepared slices of the experiment.
        steps: Training steps.
        batch_size: Slices per step.
        seed: Seed of weights, order and augmentation.

    Returns:
        The segmenter. Its record has the Dice of each class on the held-out slices.

    Raises:
        UserError: No training subject has both volumes.
    """
    import keras

    from medusis_tf.layers.initializers import scale_kernels
    from medusis_tf.metrics.independent_segmenter import (
        IndependentSegmenter,
        SegmenterRecord,
        build_segmenter,
    )
    from medusis_tf.metrics.segmentation import ConfusionMatrix

    training, held_out, held_out_name = split_pairs(shards)
    names = tuple(entry.name for entry in config.data.classes)
    record = SegmenterRecord(
        class_names=names,
        image_size=config.data.image_size,
        spacing_mm=config.data.pixel_spacing_mm,
        network=require_med_usis(config).segmenter,
        subjects=tuple(entry.subject for entry in shards.pairs("train")),
        steps=steps,
        held_out=held_out_name,
        held_out_dice={},
    )
    keras.utils.set_random_seed(seed)
    network = build_segmenter(record)
    scale_kernels(network, 1.0)
    _fit(network, training, steps, batch_size, seed)
    segmenter = IndependentSegmenter(network, record)
    found = segmenter.read_classes(held_out.image)
    matrix = ConfusionMatrix(len(names))
    matrix.update(held_out.label_map, found)
    dice = {names[k]: float(matrix.dice[k]) for k in range(1, len(names)) if matrix.counts[k].any()}
    return IndependentSegmenter(network, record.model_copy(update={"held_out_dice": dice}))


def split_pairs(shards: "Shards") -> tuple[Pairs, Pairs, str]:
    """Separate the real pairs into slices to train on and held-out slices.

    Returns:
        The slices to train on, the held-out slices, and a description of the latter.

    Raises:
        UserError: No training subject has both volumes.
    """
    training = [_read(shards, entry.subject) for entry in shards.pairs("train")]
    if not training:
        raise UserError(
            "no training subject has both a label map and an image, so there are no real pairs to "
            "train a segmenter on. Add the image to some of them; streams: [label_map] keeps it "
            "from the GAN."
        )
    if validation := [_read(shards, entry.subject) for entry in shards.pairs("validation")]:
        return _thin(_join(training)), _thin(_join(validation)), "the validation subjects"
    # This is easier than another subject: training includes the slices on both sides.
    subjects = [(pairs, _middle(len(pairs.image))) for pairs in training]
    kept = _join([Pairs(p.label_map[~held], p.image[~held]) for p, held in subjects])
    held_out = _join([Pairs(p.label_map[held], p.image[held]) for p, held in subjects])
    return _thin(kept), _thin(held_out), "the middle fifth of every training subject's slices"


def _middle(count: int) -> np.ndarray:
    position = (np.arange(count) + 0.5) / count
    return np.abs(position - 0.5) < HELD_OUT_FRACTION / 2


def _read(shards: "Shards", subject: str) -> Pairs:
    slices = shards.read(subject)
    if slices.label_map is None or slices.image is None:
        raise ValueError(f"subject {subject} has no label map or no image")
    return Pairs(slices.label_map, slices.image)


def _join(subjects: list[Pairs]) -> Pairs:
    return Pairs(
        np.concatenate([pairs.label_map for pairs in subjects]),
        np.concatenate([pairs.image for pairs in subjects]),
    )


def _thin(pairs: Pairs) -> Pairs:
    step = -(-len(pairs.image) // MAX_SLICES)
    return Pairs(pairs.label_map[::step], pairs.image[::step])


def _fit(network, pairs: Pairs, steps: int, batch_size: int, seed: int) -> None:
    import keras
    import tensorflow as tf

    from medusis_tf.progress import TrainingProgress

    # Grappler's remapper fails on this graph with an error message, and would gain nothing.
    tf.config.optimizer.set_experimental_options({"remapping": False})
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps))
    optimizer.build(network.trainable_variables)
    label_map = tf.constant(pairs.label_map)
    levels = tf.constant(np.rint((pairs.image + 1) * 32767.5).astype(np.uint16))

    @tf.function(autograph=False)
    def step(places: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        batch = _augment(tf.gather(label_map, places), tf.gather(levels, places), key)
        with tf.GradientTape() as tape:
            loss = _loss(network(batch[1], training=True), batch[0])
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        return loss

    random = np.random.default_rng(seed)
    with TrainingProgress(0, steps) as progress:
        losses, since = [], time.perf_counter()
        for number in range(1, steps + 1):
            places = random.integers(0, len(pairs.image), batch_size)
            losses.append(step(tf.constant(places), tf.constant([seed, number], tf.int64)))
            progress.advance()
            if number % LOG_INTERVAL == 0 or number == steps:
                mean = float(np.mean([float(loss) for loss in losses]))
                seconds = time.perf_counter() - since
                progress.report(number, {"loss": mean}, len(losses) * batch_size / seconds)
                losses, since = [], time.perf_counter()


def _augment(
    label_map: "tf.Tensor", levels: "tf.Tensor", key: "tf.Tensor"
) -> tuple["tf.Tensor", "tf.Tensor"]:
    """Transform label maps and images alike; add gamma, bias field and noise to the images."""
    import tensorflow as tf

    from medusis_tf.data.batches.augmentation import augment_image, move_label_map

    label_map = move_label_map(label_map, key, AUGMENTATION)
    image = augment_image(levels, key, AUGMENTATION)
    # The augmentation folds 0 to 2 into the key; other numbers give independent noise.
    noise_key = tf.random.fold_in(key, 100, "philox")
    noise = tf.random.stateless_normal(image.shape, noise_key, alg="philox")
    strength_key = tf.random.fold_in(key, 101, "philox")
    strength = tf.random.stateless_uniform(
        [image.shape[0], 1, 1], strength_key, 0.0, NOISE, alg="philox"
    )
    return label_map, tf.clip_by_value(image + strength * noise, -1.0, 1.0)[..., tf.newaxis]


def _loss(class_logits: "tf.Tensor", label_map: "tf.Tensor") -> "tf.Tensor":
    """Sum class-balanced cross-entropy and the soft Dice loss of the classes that are present."""
    import tensorflow as tf

    from medusis_tf.losses.segmentation import segmentation_loss

    balanced = segmentation_loss(class_logits, label_map, background_weight=1.0)
    shares = tf.nn.softmax(class_logits[..., 1:])
    true = tf.one_hot(tf.cast(label_map, tf.int32), shares.shape[-1])
    axes = [0, 1, 2]
    counts = tf.reduce_sum(true, axes)
    common = tf.reduce_sum(shares * true, axes)
    dice = 2 * common / (counts + tf.reduce_sum(shares, axes))
    present = tf.cast(counts > 0, tf.float32)
    return balanced + 1 - tf.reduce_sum(present * dice) / tf.reduce_sum(present)

"""Train an independent judge: `python -m pipelines.train_segmenter --config FILE --out FILE`.

A segmenter that sees real images and their label maps only. The pairs are those of the training
subjects that have both volumes; where these are not streamed to the GAN as images (`streams:
[label_map]`), the GAN and the judge do not even share images. Subjects of the test split are never
read. Use it with `python -m medusis_tf.evaluate --run DIR --segmenter FILE`.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from medusis_tf.config.augmentation import AugmentationConfig
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.load import load_config
from medusis_tf.console import run
from medusis_tf.errors import UserError

if TYPE_CHECKING:
    import tensorflow as tf

    from medusis_tf.data.shards import Shards
    from medusis_tf.metrics.independent_segmenter import IndependentSegmenter

logger = logging.getLogger("medusis_tf.train_segmenter")

AUGMENTATION = AugmentationConfig(
    rotation_degrees=10, scale=0.15, translation=0.1, gamma=0.4, bias_field=0.3
)
# Deviation of the noise on an image is drawn up to this, so that grain is not what it reads.
NOISE = 0.1
LEARNING_RATE = 1e-3
LOG_INTERVAL = 100
# Slices held in memory: a gigabyte at 256x256.
MAX_SLICES = 4000
HELD_OUT_PART = 0.2


@dataclass(frozen=True, eq=False)
class Pairs:
    """Aligned slices.

    Attributes:
        label_map: `[slices, height, width]` uint8.
        image: `[slices, height, width]` float32 in [-1, 1].
    """

    label_map: np.ndarray
    image: np.ndarray


def train_segmenter(
    config: Annotated[Path, typer.Option(help="YAML file of the experiment, as in configs/.")],
    out: Annotated[Path, typer.Option(help="File to write, NAME.weights.h5.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[key=value]...", help="Changes, as in segmenter.base_channels=8."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 1500,
    batch_size: Annotated[int, typer.Option(min=1, help="Slices of a step.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Another seed gives other weights.")] = 0,
) -> None:
    """Train a segmenter on the real pairs of the training subjects and write its weights.

    A JSON file beside them says what it was trained on and its Dice on slices held out: those of
    the validation subjects, or the middle fifth of every training subject where there are none.
    """
    experiment = load_config(config, overrides or [])
    from medusis_tf.data.preparation import prepare_shards
    from medusis_tf.metrics.independent_segmenter import record_path

    record_path(out)  # a wrong name is told before the training, not after it
    shards = prepare_shards(experiment, jobs=None)
    segmenter = train_judge(experiment, shards, steps, batch_size, seed)
    segmenter.save(out)
    dice = ", ".join(
        f"{name} {value:.3f}" for name, value in segmenter.record.held_out_dice.items()
    )
    logger.info("Dice on %s: %s", segmenter.record.held_out, dice)
    logger.info("wrote %s", out)


def train_judge(
    config: ExperimentConfig, shards: "Shards", steps: int, batch_size: int = 8, seed: int = 0
) -> "IndependentSegmenter":
    """Train a segmenter on the real pairs of the training subjects.

    Args:
        config: The experiment: its classes, slices and segmenter network.
        shards: Its prepared slices.
        steps: Training steps.
        batch_size: Slices of a step.
        seed: Of weights, order and augmentation.

    Raises:
        UserError: No training subject has both volumes.
    """
    import keras

    from medusis_tf.metrics.confusion import ConfusionMatrix
    from medusis_tf.metrics.independent_segmenter import (
        IndependentSegmenter,
        SegmenterRecord,
        build_segmenter,
    )
    from medusis_tf.training.initialization import scale_kernels

    training, held_out, held_out_name = split_pairs(shards)
    names = tuple(entry.name for entry in config.data.classes)
    record = SegmenterRecord(
        class_names=names,
        image_size=config.data.image_size,
        spacing_mm=config.data.pixel_spacing_mm,
        network=config.segmenter,
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
    """Slices to train on, slices held out, and what the latter are.

    Raises:
        UserError: No training subject has both volumes.
    """
    training = [_read(shards, entry.subject) for entry in shards.pairs("train")]
    if not training:
        raise UserError(
            "no training subject has both a label map and an image, so there are no real pairs to "
            "train a segmenter on. Give some of them both; streams: [label_map] keeps the image "
            "from the GAN."
        )
    if validation := [_read(shards, entry.subject) for entry in shards.pairs("validation")]:
        return _thin(_join(training)), _thin(_join(validation)), "the validation subjects"
    # In the middle lies what is seen on both sides of it: that is easier than another subject.
    middle = [_middle(len(part.image)) for part in training]
    pieces = list(zip(training, middle, strict=True))
    kept = _join([Pairs(part.label_map[~held], part.image[~held]) for part, held in pieces])
    held_out = _join([Pairs(part.label_map[held], part.image[held]) for part, held in pieces])
    return _thin(kept), _thin(held_out), "the middle fifth of every training subject's slices"


def _middle(count: int) -> np.ndarray:
    place = (np.arange(count) + 0.5) / count
    return np.abs(place - 0.5) < HELD_OUT_PART / 2


def _read(shards: "Shards", subject: str) -> Pairs:
    slices = shards.read(subject)
    if slices.label_map is None or slices.image is None:
        raise ValueError(f"subject {subject} is no pair")
    return Pairs(slices.label_map, slices.image)


def _join(parts: list[Pairs]) -> Pairs:
    return Pairs(
        np.concatenate([part.label_map for part in parts]),
        np.concatenate([part.image for part in parts]),
    )


def _thin(pairs: Pairs) -> Pairs:
    step = -(-len(pairs.image) // MAX_SLICES)
    return Pairs(pairs.label_map[::step], pairs.image[::step])


def _fit(network, pairs: Pairs, steps: int, batch_size: int, seed: int) -> None:
    import keras
    import tensorflow as tf

    from medusis_tf.progress import TrainingProgress

    # Grappler's remapper fails on this graph with a loud message, and gains nothing.
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
    """Move label maps and images alike; bend, shade and roughen the images."""
    import tensorflow as tf

    from medusis_tf.data.augmentation import augment_image, move_label_map

    label_map = move_label_map(label_map, key, AUGMENTATION)
    image = augment_image(levels, key, AUGMENTATION)
    # The augmentation folds 0 to 2 into the key; another number gives independent noise.
    noise_key = tf.random.fold_in(key, 100, "philox")
    noise = tf.random.stateless_normal(image.shape, noise_key, alg="philox")
    strength_key = tf.random.fold_in(key, 101, "philox")
    strength = tf.random.stateless_uniform(
        [image.shape[0], 1, 1], strength_key, 0.0, NOISE, alg="philox"
    )
    return label_map, tf.clip_by_value(image + strength * noise, -1.0, 1.0)[..., tf.newaxis]


def _loss(class_logits: "tf.Tensor", label_map: "tf.Tensor") -> "tf.Tensor":
    """Cross-entropy in which every class counts the same, and soft Dice of the classes present."""
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


if __name__ == "__main__":
    run(train_segmenter)

"""Train an independent segmenter: `medusis train-segmenter --config FILE --out FILE`.

It is trained on real images and their label maps only: the training subjects that have both
volumes. If the images of these subjects are not streamed to the GAN (`streams: [label_map]`), the
GAN and the segmenter share no images. Subjects of the test split are never read. Use the result
with `medusis evaluate --run DIR --segmenter FILE`.
"""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from medusis_tf.commands.options import ConfigOption, OverridesArgument
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.limits import LARGEST_BATCH, LARGEST_SEED, LARGEST_STEPS
from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import load_config
from medusis_tf.methods.med_usis.config import require_med_usis

if TYPE_CHECKING:
    from medusis_tf.data.shards.shards import Shards
    from medusis_tf.metrics.independent_segmenter import IndependentSegmenter
    from medusis_tf.training.segmenter import Pairs

logger = logging.getLogger(__name__)

# Slices in memory: one gigabyte at 256x256.
MAX_SLICES = 4000
HELD_OUT_FRACTION = 0.2


def train_segmenter(
    config: ConfigOption,
    out: Annotated[Path, typer.Option(help="File to write, NAME.weights.h5.")],
    overrides: OverridesArgument = None,
    steps: Annotated[int, typer.Option(min=1, max=LARGEST_STEPS, help="Training steps.")] = 1500,
    batch_size: Annotated[int, typer.Option(min=1, max=LARGEST_BATCH, help="Slices per step.")] = 8,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of weights, order and augmentation.")
    ] = 0,
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
    from medusis_tf.metrics.independent_segmenter import IndependentSegmenter, SegmenterRecord
    from medusis_tf.metrics.overlap import ConfusionMatrix
    from medusis_tf.training.segmenter import SegmenterTraining

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
    fitting = SegmenterTraining(record, batch_size)
    fitting.restart(seed)
    fitting.fit(training, steps, seed)
    segmenter = IndependentSegmenter(fitting.network, record)
    found = segmenter.read_classes(held_out.image)
    matrix = ConfusionMatrix(len(names))
    matrix.update(held_out.label_map, found)
    dice = {names[k]: float(matrix.dice[k]) for k in range(1, len(names)) if matrix.counts[k].any()}
    return IndependentSegmenter(fitting.network, record.model_copy(update={"held_out_dice": dice}))


def split_pairs(shards: "Shards") -> tuple["Pairs", "Pairs", str]:
    """Separate the real pairs into slices to train on and held-out slices.

    Returns:
        The slices to train on, the held-out slices, and a description of the latter.

    Raises:
        UserError: No training subject has both volumes.
    """
    from medusis_tf.training.segmenter import Pairs

    training = [_read(shards, entry.subject) for entry in shards.pairs("train")]
    if not training:
        raise UserError(
            "no training subject has both a label map and an image, so there are no real pairs to "
            "train a segmenter on. Add the image to some of them; streams: [label_map] keeps it "
            "from the GAN."
        )
    if validation := [_read(shards, entry.subject) for entry in shards.pairs("validation")]:
        return _thin(Pairs.join(training)), _thin(Pairs.join(validation)), "the validation subjects"
    # This is easier than another subject: training includes the slices on both sides.
    subjects = [(pairs, _middle(len(pairs.image))) for pairs in training]
    kept = Pairs.join([Pairs(p.label_map[~held], p.image[~held]) for p, held in subjects])
    held_out = Pairs.join([Pairs(p.label_map[held], p.image[held]) for p, held in subjects])
    return _thin(kept), _thin(held_out), "the middle fifth of every training subject's slices"


def _middle(count: int) -> np.ndarray:
    position = (np.arange(count) + 0.5) / count
    return np.abs(position - 0.5) < HELD_OUT_FRACTION / 2


def _read(shards: "Shards", subject: str) -> "Pairs":
    from medusis_tf.training.segmenter import Pairs

    slices = shards.read(subject)
    if slices.label_map is None or slices.image is None:
        raise ValueError(f"subject {subject} has no label map or no image")
    return Pairs(slices.label_map, slices.image)


def _thin(pairs: "Pairs") -> "Pairs":
    from medusis_tf.training.segmenter import Pairs

    step = -(-len(pairs.image) // MAX_SLICES)
    return Pairs(pairs.label_map[::step], pairs.image[::step])

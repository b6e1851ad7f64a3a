"""Evaluate a model on the paired subjects of a split, beside the floor of class means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from medusis_tf.config.data import Split
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.errors import UserError
from medusis_tf.metrics.grey_levels import learn_grey_levels
from medusis_tf.metrics.judged_model import JudgedModel
from medusis_tf.metrics.paired import (
    Method,
    MethodResult,
    PairedSubject,
    Rules,
    class_mean_method,
    class_mean_oracle,
    judge,
)
from medusis_tf.metrics.segmentation_agreement import ReadClasses

if TYPE_CHECKING:
    from medusis_tf.data.shards import Shards
    from medusis_tf.serving.painter import SlicePainter

TRUE_IMAGE = "true image (what a perfect picture would get)"
TRAINING_MEANS = "class means (training pairs)"
ORACLE_MEANS = "class means (this test subject; oracle)"


@dataclass(frozen=True)
class Evaluation:
    """What was evaluated and what came out.

    Attributes:
        judged: The model and its data.
        split: Whose subjects were judged on.
        seed: Of the noise vector.
        subjects: The paired subjects of the split.
        methods: The model first, then the true image and the floors; what each paints for a
            subject.
        results: How each method did.
        rules: What shapes were judged by.
    """

    judged: JudgedModel
    split: str
    seed: int
    subjects: list[PairedSubject]
    methods: Mapping[str, Method]
    results: Mapping[str, MethodResult]
    rules: Rules


def evaluate_model(
    judged: JudgedModel,
    split: str,
    seed: int,
    batch_size: int = 8,
    segmenter: Path | None = None,
) -> Evaluation:
    """Judge a model, the true image and the floors on the paired subjects of a split.

    The floors are the class means learned from the training subjects with both volumes, where
    there are any, and the class means of each test subject itself.

    Args:
        judged: The model and its data.
        split: One of `train`, `validation`, `test`.
        seed: Of the noise vector, the same for all subjects.
        batch_size: Slices painted at once.
        segmenter: Weights that `pipelines.train_segmenter` wrote, to judge the classes by.

    Raises:
        UserError: The split is unknown or has no paired subject, its data cannot be read, or the
            segmenter does not fit the data.
    """
    config = judged.config
    _check_split(config, split)
    read_classes = None if segmenter is None else _open_segmenter(segmenter, config)
    from medusis_tf.data.preparation import prepare_shards

    shards = prepare_shards(config, jobs=None)
    subjects = _read_pairs(shards, split)
    if not subjects:
        raise UserError(
            f"the {split} split of {config.name}: no slice shows enough foreground in both the "
            "label map and the image, so there is nothing to compare. Lower "
            "data.minimum_foreground."
        )
    methods: dict[str, Method] = {judged.title: synthesis(judged.painter, seed, batch_size)}
    methods[TRUE_IMAGE] = lambda subject: subject.image
    if training_pairs := _read_pairs(shards, "train"):
        methods[TRAINING_MEANS] = class_mean_method(training_pairs, config.data.num_classes)
    methods[ORACLE_MEANS] = class_mean_oracle(config.data.num_classes)
    names = [entry.name for entry in config.data.classes]
    rules = Rules(learn_grey_levels(shards), names, read_classes)
    results = {name: judge(method, subjects, rules) for name, method in methods.items()}
    return Evaluation(judged, split, seed, subjects, methods, results, rules)


def synthesis(painter: SlicePainter, seed: int, batch_size: int = 8) -> Method:
    """A model's synthesis, with the noise vector of `seed` for every subject."""
    noise = painter.draw_noise(seed)
    return lambda subject: painter.paint(subject.label_map, noise, batch_size)


def _open_segmenter(weights: Path, config: ExperimentConfig) -> ReadClasses:
    from medusis_tf.metrics.independent_segmenter import IndependentSegmenter

    segmenter = IndependentSegmenter.open(weights)
    segmenter.check_fit(config.data)
    return segmenter.read_classes


def _check_split(config: ExperimentConfig, split: str) -> None:
    if split not in get_args(Split):
        raise UserError(f"--split must be one of {', '.join(get_args(Split))}. Received: {split}")
    entries = [entry for entry in config.data.subjects if entry.split == split]
    if not any(entry.has_label_map and entry.image is not None for entry in entries):
        raise UserError(
            f"the {split} split of {config.name} has no subject with both a label map and an "
            "image, so there is nothing to compare with. Its subjects: "
            f"{', '.join(entry.subject for entry in entries) or 'none'}. Give one of them both, "
            "or another --split."
        )


def _read_pairs(shards: Shards, split: str) -> list[PairedSubject]:
    pairs = []
    for record in shards.pairs(cast(Split, split)):
        slices = shards.read(record)
        if slices.label_map is not None and slices.image is not None:
            pairs.append(
                PairedSubject(record.subject, slices.label_map, slices.image, slices.slice_indices)
            )
    return pairs

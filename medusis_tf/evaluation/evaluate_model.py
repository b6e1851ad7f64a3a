"""The whole of an evaluation, from prepared slices to all figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medusis_tf.config.data import Split
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.errors import UserError
from medusis_tf.evaluation.audit_model import audit_model, describe_audit
from medusis_tf.evaluation.diversity import measure_diversity
from medusis_tf.evaluation.evaluation import (
    FORMAT_VERSION,
    Evaluation,
    Progress,
    describe_levels,
    describe_subjects,
    judge,
)
from medusis_tf.evaluation.feature_set import FeatureSet
from medusis_tf.evaluation.judged_model import JudgedModel
from medusis_tf.evaluation.judged_subject import JudgedSubjects
from medusis_tf.evaluation.judges import Judges
from medusis_tf.evaluation.measures.distribution import describe_distances
from medusis_tf.evaluation.method import Method, other_methods
from medusis_tf.evaluation.options import EvaluationOptions
from medusis_tf.evaluation.prepare_judges import (
    open_instruments,
    prepare_judges,
    real_images,
)
from medusis_tf.metrics.bootstrap import LEVEL
from medusis_tf.metrics.similarity import DATA_RANGE

if TYPE_CHECKING:
    from medusis_tf.data.shards import Shards

NO_AUDIT = {"problem": "it needs real images that are held out from training, in this split"}
TRAINING_IMAGES = "real training images"
INTENSITIES = "scaled to [0, 1] by data.intensity, clipped"


def evaluate_model(
    judged: JudgedModel, options: EvaluationOptions, progress: Progress | None = None
) -> Evaluation:
    """Judge a model, references and baselines on the subjects of a split with label maps.

    Args:
        judged: What is judged, and on whose data.
        options: On whom, and by what.
        progress: Called with a method's name, subjects done, and all subjects.

    Raises:
        UserError: The split has no subject with a label map or no slice of it, the data cannot be
            read, or a file that was given cannot be used.
    """
    config = judged.config
    _check_split(config, options.split)
    # What may be wrong with files is found before anything is painted.
    instruments = open_instruments(judged, options)
    from medusis_tf.data.preparation import prepare_shards

    shards = prepare_shards(config, jobs=None)
    subjects = JudgedSubjects(shards, config.data, options.split)
    _check_slices(config, subjects, options.split)
    judges = prepare_judges(shards, judged, options.split, instruments, subjects.has_pairs)
    methods = [judged.method]
    if options.baselines:
        methods += _others(config, shards, subjects)
    results = [judge(method, subjects, options.seeds, judges, progress) for method in methods]
    if judges.features:
        results.append(_training_images(shards, judges))
    content = {**_head(judged, options, judges), **_data(config, options, subjects)}
    content["methods"] = results
    if judged.method.is_random:
        content["diversity"] = measure_diversity(judged.method, subjects, options.seeds[0])
    audit = None
    if options.audit:
        audit = audit_model(judged.method, subjects, shards, options.split, options.seeds[0])
        content["memorization"] = NO_AUDIT if audit is None else describe_audit(audit)
    return Evaluation(
        judged.method.name, subjects, methods, options.seeds, config.data.classes, audit, content
    )


def _others(config: ExperimentConfig, shards: Shards, subjects: JudgedSubjects) -> list[Method]:
    """References and baselines, as far as there are true images for them."""
    training = JudgedSubjects(shards, config.data, "train")
    others = other_methods(shards, training, config.data.num_classes)
    return [method for method in others if subjects.has_pairs or not method.needs_image]


def _data(
    config: ExperimentConfig, options: EvaluationOptions, subjects: JudgedSubjects
) -> dict[str, Any]:
    described = {
        "configuration": config.name,
        "split": options.split,
        "pairing": config.data.pairing,
        **describe_subjects(subjects),
    }
    return {"data": described}


def _head(judged: JudgedModel, options: EvaluationOptions, judges: Judges) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION,
        "model": {
            "name": judged.method.name,
            "step": judged.step,
            "source": str(judged.source),
        },
        "seeds": list(options.seeds),
        "protocol": {
            "data_range": DATA_RANGE,
            "intensities": INTENSITIES,
            "mean": "of patients' means; body: label map not 0",
            "interval": f"{100 * LEVEL:g} % percentile bootstrap over patients",
            "grey_levels": describe_levels(judges),
        },
    }


def _training_images(shards: Shards, judges: Judges) -> dict[str, Any]:
    """How far real images of other patients are: what a distance cannot be expected to beat."""
    found = [FeatureSet(extractor.dimension) for extractor, _ in judges.features]
    for images in real_images(shards, "train"):
        for (extractor, _), features in zip(judges.features, found, strict=True):
            features.update(extractor(images))
    return {
        "name": TRAINING_IMAGES,
        "kind": "reference",
        "distribution": {
            extractor.name: describe_distances(extractor, features, real)
            for (extractor, real), features in zip(judges.features, found, strict=True)
        },
    }


def _check_split(config: ExperimentConfig, split: Split) -> None:
    entries = [entry for entry in config.data.subjects if entry.split == split]
    if not any(entry.has_label_map for entry in entries):
        raise UserError(
            f"the {split} split of {config.name} has no subject with a label map, so there is "
            f"nothing to paint. Its subjects: {', '.join(e.subject for e in entries) or 'none'}. "
            "Give one of them a label map, or another --split."
        )


def _check_slices(config: ExperimentConfig, subjects: JudgedSubjects, split: str) -> None:
    if not len(subjects):
        raise UserError(
            f"the {split} split of {config.name}: no slice shows enough foreground, in the image "
            "too where a subject has one, so there is nothing to judge on. Lower "
            "data.minimum_foreground."
        )

"""Judge a model, and what it has to beat, on the subjects of a split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medusis_tf.config.data import ClassEntry, Split
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.shards.labelled_subjects import LabelledSubjects
from medusis_tf.errors import UserError
from medusis_tf.evaluation.audit import ModelAudit, audit_model, describe_audit
from medusis_tf.evaluation.evaluated_model import EvaluatedModel
from medusis_tf.evaluation.instruments import (
    Measures,
    open_instruments,
    prepare_measures,
    real_images,
)
from medusis_tf.evaluation.options import EvaluationOptions
from medusis_tf.evaluation.painters import Method, other_methods
from medusis_tf.metrics.distribution import FeatureSet, describe_distances
from medusis_tf.metrics.diversity import noise_spread
from medusis_tf.metrics.measure import LEVEL
from medusis_tf.metrics.similarity import DATA_RANGE

if TYPE_CHECKING:
    from medusis_tf.data.shards.shards import Shards

FORMAT_VERSION = 2

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """What was judged, and what came out.

    Attributes:
        title: Of the model.
        subjects: Who was judged on.
        methods: The model first, then references and baselines.
        seeds: Of the noises.
        classes: The class table.
        audit: For the pictures of nearest neighbours; None if there was none.
        content: All figures, as in `metrics.json`.
    """

    title: str
    subjects: LabelledSubjects
    methods: Sequence[Method]
    seeds: Sequence[int]
    classes: Sequence[ClassEntry]
    audit: ModelAudit | None
    content: Mapping[str, Any]


def judge(
    method: Method,
    subjects: LabelledSubjects,
    seeds: Sequence[int],
    judges: Measures,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """All figures of one method.

    Args:
        method: Paints.
        subjects: What is painted; a subject without a true image is passed over by a method that
            needs one.
        seeds: Of the noises; a method that is not random takes the first one only.
        judges: What pictures are judged by.
        progress: Called with the method's name, subjects done, and all subjects.
    """
    measures = judges.measures(is_model=method.kind == "model")
    for done, subject in enumerate(subjects, start=1):
        if subject.image is not None or not method.needs_image:
            for seed in seeds if method.is_random else seeds[:1]:
                pictures = method.paint(subject, seed)
                for measure in measures.values():
                    measure.update(subject, pictures)
        if progress is not None:
            progress(method.name, done, len(subjects))
    results = {name: measure.results() for name, measure in measures.items()}
    return {"name": method.name, "kind": method.kind, **nested(results)}


def nested(results: Mapping[str, Any]) -> dict[str, Any]:
    """`{"a/b": x}` as `{"a": {"b": x}}`."""
    found: dict[str, Any] = {}
    for name, value in results.items():
        outer, _, inner = name.partition("/")
        if inner:
            found.setdefault(outer, {})[inner] = value
        else:
            found[outer] = value
    return found


def describe_subjects(subjects: LabelledSubjects) -> dict[str, Any]:
    """How many slices and patients there are, with a true image and without."""
    records = subjects.records
    paired = [record for record in records if "image" in record.kinds]
    return {
        "subjects": [record.subject for record in records],
        **_counts("", records),
        **_counts("paired_", paired),
    }


def _counts(prefix: str, records: Iterable[Any]) -> dict[str, int]:
    records = list(records)
    return {
        f"{prefix}slices": sum(record.num_slices for record in records),
        f"{prefix}patients": len({record.patient for record in records}),
    }


def describe_levels(judges: Measures) -> dict[str, float]:
    """The greys that shapes were judged by."""
    return asdict(judges.levels)


NOISES = 4
MAX_SLICES = 16


def measure_diversity(method: Method, subjects: LabelledSubjects, seed: int) -> dict[str, Any]:
    """Spread of brightness, and distance between the pictures of one label map.

    Args:
        method: The model.
        subjects: Whose label maps; slices spread over all of them.
        seed: Of the first noise; each further one takes the next.
    """
    step = -(-sum(record.num_slices for record in subjects.records) // MAX_SLICES)
    chosen = [subject.every(step) for subject in subjects]
    pictures = [
        np.concatenate([method.paint(subject, seed + number) for subject in chosen])
        for number in range(NOISES)
    ]
    bodies = np.concatenate([subject.body for subject in chosen])
    spread = asdict(noise_spread(np.stack(pictures), bodies))
    return {"noises": NOISES, "slices": len(bodies), **spread}


NO_AUDIT = {"problem": "it needs real images that are held out from training, in this split"}
TRAINING_IMAGES = "real training images"
INTENSITIES = "scaled to [0, 1] by data.intensity, clipped"


def evaluate_model(
    judged: EvaluatedModel, options: EvaluationOptions, progress: Progress | None = None
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
    from medusis_tf.data.preparing.preparation import prepare_shards

    shards = prepare_shards(config, jobs=None)
    subjects = LabelledSubjects(shards, config.data, options.split)
    _check_slices(config, subjects, options.split)
    judges = prepare_measures(shards, judged, options.split, instruments, subjects.has_pairs)
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


def _others(config: ExperimentConfig, shards: Shards, subjects: LabelledSubjects) -> list[Method]:
    """References and baselines, as far as there are true images for them."""
    training = LabelledSubjects(shards, config.data, "train")
    others = other_methods(shards, training, config.data.num_classes)
    return [method for method in others if subjects.has_pairs or not method.needs_image]


def _data(
    config: ExperimentConfig, options: EvaluationOptions, subjects: LabelledSubjects
) -> dict[str, Any]:
    described = {
        "configuration": config.name,
        "split": options.split,
        "pairing": config.data.pairing,
        **describe_subjects(subjects),
    }
    return {"data": described}


def _head(judged: EvaluatedModel, options: EvaluationOptions, judges: Measures) -> dict[str, Any]:
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


def _training_images(shards: Shards, judges: Measures) -> dict[str, Any]:
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


def _check_slices(config: ExperimentConfig, subjects: LabelledSubjects, split: str) -> None:
    if not len(subjects):
        raise UserError(
            f"the {split} split of {config.name}: no slice shows enough foreground, in the image "
            "too where a subject has one, so there is nothing to judge on. Lower "
            "data.minimum_foreground."
        )

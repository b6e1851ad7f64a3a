"""Evaluate a model, references and baselines on the subjects of a split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medusis_tf.config.data import ClassEntry
from medusis_tf.data.shards.labelled_subjects import LabelledSubjects
from medusis_tf.data.shards.slice_spacing import check_slices_fit
from medusis_tf.data.shards.spread import step_within
from medusis_tf.errors import UserError
from medusis_tf.evaluation.audit import ModelAudit, audit_model, describe_audit
from medusis_tf.evaluation.evaluated_model import EvaluatedModel
from medusis_tf.evaluation.options import EvaluationOptions
from medusis_tf.evaluation.painters import Painter
from medusis_tf.evaluation.setup import EvaluationSetup, open_setup, real_images
from medusis_tf.metrics.diversity import noise_spread
from medusis_tf.metrics.measure import LEVEL
from medusis_tf.metrics.metric import ImageMeasure
from medusis_tf.metrics.similarity import DATA_RANGE

if TYPE_CHECKING:
    from medusis_tf.data.shards.manifest import SubjectRecord

FORMAT_VERSION = 2
INTENSITIES = "scaled to [0, 1] by data.intensity, clipped"
TRAINING_IMAGES = "real training images"
NO_AUDIT = {"problem": "it needs real images that are held out from training, in this split"}

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Evaluation:
    """An evaluation and its results.

    Attributes:
        title: Title of the model.
        subjects: Evaluated subjects.
        painters: The model first, then references and baselines.
        seeds: Noise seeds.
        classes: Class table.
        audit: Audit with the nearest training slices; None if there was none.
        content: All results, as in `metrics.json`.
    """

    title: str
    subjects: LabelledSubjects
    painters: Sequence[Painter]
    seeds: Sequence[int]
    classes: Sequence[ClassEntry]
    audit: ModelAudit | None
    content: Mapping[str, Any]


def evaluate_model(
    model: EvaluatedModel, options: EvaluationOptions, progress: Progress | None = None
) -> Evaluation:
    """Evaluate a model, references and baselines on the subjects of a split with label maps.

    Args:
        model: Model to evaluate, with the configuration of the data.
        options: Options of the evaluation.
        progress: Called with a painter's name, the number of finished subjects and of all.

    Raises:
        UserError: No slice of the split can be evaluated, the data cannot be read, or a given file
            cannot be used.
    """
    setup = open_setup(model, options)
    check_slices_fit(setup.subjects.records, model.config.data, model.slice_mm)
    painters = setup.painters()
    content = _description(setup)
    content["methods"] = [
        *(evaluate_painter(painter, setup, progress) for painter in painters),
        *_training_images(setup),
    ]
    seed = options.seeds[0]
    if model.painter.is_random:
        content["diversity"] = measure_diversity(model.painter, setup.subjects, seed)
    audit = None
    if options.audit:
        audit = audit_model(model.painter, setup.subjects, setup.shards, options.split, seed)
        content["memorization"] = NO_AUDIT if audit is None else describe_audit(audit)
    return Evaluation(
        model.painter.name, setup.subjects, painters, options.seeds, model.config.data.classes,
        audit, content,
    )  # fmt: skip


def evaluate_painter(
    painter: Painter, setup: EvaluationSetup, progress: Progress | None = None
) -> dict[str, Any]:
    """Measure all metrics of one painter.

    A painter that needs real images skips subjects without one. A painter that is not random is
    evaluated with the first seed only.

    Args:
        painter: Painter to evaluate.
        setup: Data and metrics.
        progress: Called with the painter's name, the number of finished subjects and of all.

    Returns:
        An entry of `methods` in `metrics.json`.

    Raises:
        UserError: An image is not finite.
    """
    measures = setup.measures(is_model=painter.kind == "model")
    if painter.only:
        measures = {key: each for key, each in measures.items() if key in painter.only}
    seeds = setup.options.seeds if painter.is_random else setup.options.seeds[:1]
    for done, subject in enumerate(setup.subjects, start=1):
        if subject.image is not None or not painter.needs_image:
            for seed in seeds:
                images = painter.paint(subject, seed)
                if not np.isfinite(images).all():
                    raise UserError(
                        f"the images of {painter.name} for {subject.name} are not finite. If its "
                        "weights are sound, its settings of synthesis are not: see config.yaml."
                    )
                for measure in measures.values():
                    measure.update(subject, images, seed)
        if progress is not None:
            progress(painter.name, done, len(setup.subjects))
    results = {name: measure.results() for name, measure in measures.items()}
    return {"name": painter.name, "kind": painter.kind, **nested(results)}


def nested(results: Mapping[str, Any]) -> dict[str, Any]:
    """Turn `{"a/b": x}` into `{"a": {"b": x}}`."""
    found: dict[str, Any] = {}
    for name, value in results.items():
        outer, _, inner = name.partition("/")
        if inner:
            found.setdefault(outer, {})[inner] = value
        else:
            found[outer] = value
    return found


NOISES = 4
MAX_SLICES = 16


def measure_diversity(painter: Painter, subjects: LabelledSubjects, seed: int) -> dict[str, Any]:
    """Measure the spread of the brightness over noises, and the distance between their images.

    Args:
        painter: Model.
        subjects: Subjects whose label maps are painted; slices are spread over all of them.
        seed: Seed of the first noise; the others take the following seeds.
    """
    step = step_within(MAX_SLICES, sum(record.num_slices for record in subjects.records))
    chosen = [subject.every(step) for subject in subjects]
    images = [
        np.concatenate([painter.paint(subject, seed + number) for subject in chosen])
        for number in range(NOISES)
    ]
    bodies = np.concatenate([subject.body for subject in chosen])
    spread = asdict(noise_spread(np.stack(images), bodies))
    return {"noises": NOISES, "slices": len(bodies), **spread}


def describe_subjects(subjects: LabelledSubjects) -> dict[str, Any]:
    """The subjects, and the numbers of slices and patients: all, and those with a real image."""
    records = subjects.records
    return {
        "subjects": [record.subject for record in records],
        **_counts("", records),
        **_counts("paired_", [record for record in records if "image" in record.kinds]),
    }


def _counts(prefix: str, records: Sequence[SubjectRecord]) -> dict[str, int]:
    return {
        f"{prefix}slices": sum(record.num_slices for record in records),
        f"{prefix}patients": len({record.patient for record in records}),
    }


def _description(setup: EvaluationSetup) -> dict[str, Any]:
    """Model, seeds, protocol and data, for `metrics.json`; patients seen in training, if any."""
    model, options, config = setup.model, setup.options, setup.model.config
    seen = {"seen_in_training": setup.seen} if setup.seen else {}
    return {
        "format_version": FORMAT_VERSION,
        "model": {
            "name": model.painter.name,
            "step": model.step,
            "source": str(model.source),
            "path": model.path,
        },
        "seeds": list(options.seeds),
        "protocol": {
            "data_range": DATA_RANGE,
            "intensities": INTENSITIES,
            "mean": "of patients' means; body: label map not 0",
            "interval": f"{100 * LEVEL:g} % percentile bootstrap over patients",
            "grey_levels": asdict(setup.context.grey_levels),
        },
        "data": {
            "configuration": config.name,
            "split": options.split,
            "pairing": None if model.trained is None else model.trained.pairing,
            **describe_subjects(setup.subjects),
            **seen,
        },
    }


def _training_images(setup: EvaluationSetup) -> list[dict[str, Any]]:
    """The distance of other patients' real images, which a model cannot be expected to beat."""
    measures = {
        name: measure
        for name, measure in setup.measures(is_model=False).items()
        if isinstance(measure, ImageMeasure)
    }
    if not measures:
        return []
    for images in real_images(setup.shards, "train"):
        for measure in measures.values():
            measure.add_images(images)
    results = nested({name: measure.results() for name, measure in measures.items()})
    return [{"name": TRAINING_IMAGES, "kind": "reference", **results}]

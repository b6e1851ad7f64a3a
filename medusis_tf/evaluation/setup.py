"""Open everything that an evaluation works with: model, data and metrics."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from medusis_tf.config.data import Split
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.shards.labelled_subjects import LabelledSubjects
from medusis_tf.errors import UserError
from medusis_tf.evaluation.evaluated_model import EvaluatedModel
from medusis_tf.evaluation.metric_list import all_metrics
from medusis_tf.evaluation.options import EvaluationOptions
from medusis_tf.evaluation.painters import Painter, mean_painters, other_painters
from medusis_tf.evaluation.segmenters import FOLDER, OWN, masks_of_folder, open_segmenter
from medusis_tf.evaluation.unseen_patients import described, seen_patients
from medusis_tf.metrics.distribution import FeatureExtractor
from medusis_tf.metrics.extractors import InceptionExtractor, RadiomicsExtractor
from medusis_tf.metrics.grey_levels import learn_grey_levels
from medusis_tf.metrics.independent_segmenter import SegmenterExtractor
from medusis_tf.metrics.lpips_network import open_lpips
from medusis_tf.metrics.metric import Instruments, Measure, Metric, MetricContext
from medusis_tf.metrics.segmentation import FindClasses

if TYPE_CHECKING:
    from medusis_tf.appearance.appearance import Appearance
    from medusis_tf.data.shards.shards import Shards

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class EvaluationSetup:
    """What is evaluated, on which data, with which metrics; opened once.

    Attributes:
        model: Evaluated model, with the configuration of the data.
        options: Options of the evaluation.
        shards: Prepared slices.
        subjects: Evaluated subjects.
        context: Data and instruments of the metrics.
        metrics: Metrics, opened for this evaluation.
        seen: Evaluated patients that the model has seen, by the split of its own data.
    """

    model: EvaluatedModel
    options: EvaluationOptions
    shards: Shards
    subjects: LabelledSubjects
    context: MetricContext
    metrics: Sequence[Metric]
    seen: Mapping[Split, Sequence[str]] = field(default_factory=dict)

    def painters(self) -> list[Painter]:
        """The model; then mean images, references and baselines, if the options ask for them."""
        models = [self.model.painter]
        if self.subjects.has_pairs:
            options = self.options
            models += mean_painters(self.model.painter, options.mean_of, options.seeds[0])
        if not self.options.baselines:
            return models
        data = self.model.config.data
        training = LabelledSubjects(self.shards, data, "train")
        appearance = unpaired_appearance(self.model.config, self.shards)
        others = other_painters(self.shards, training, data.num_classes, appearance)
        has_pairs = self.subjects.has_pairs
        return [*models, *(p for p in others if has_pairs or not p.needs_image)]

    def measures(self, is_model: bool) -> dict[str, Measure]:
        """New, empty measures of all metrics for one painter; see `Metric.measures`."""
        return {
            name: measure
            for metric in self.metrics
            for name, measure in metric.measures(is_model).items()
        }


def open_setup(model: EvaluatedModel, options: EvaluationOptions) -> EvaluationSetup:
    """Open the data and the metrics of an evaluation.

    Files are checked before slices are prepared, and everything before anything is painted.

    Args:
        model: Model to evaluate, with the configuration of the data.
        options: Options of the evaluation.

    Raises:
        UserError: No slice of the split can be evaluated, the data cannot be read, or a given file
            cannot be used.
    """
    from medusis_tf.data.preparing.preparation import prepare_shards

    config = model.config
    _check_split(config, options.split)
    _check_masks(model, options)
    instruments = open_instruments(config, options, model.segmenter)
    shards = prepare_shards(config, jobs=None)
    subjects = LabelledSubjects(shards, config.data, options.split)
    if not len(subjects):
        raise UserError(
            f"the {options.split} split of {config.name} has no slice to evaluate: none shows "
            "enough foreground in the label map, and in the image if the subject has one. Lower "
            "data.minimum_foreground."
        )
    context = MetricContext(
        class_names=[entry.name for entry in config.data.classes],
        grey_levels=learn_grey_levels(shards),
        has_pairs=subjects.has_pairs,
        has_images=next(iter(real_images(shards, options.split)), None) is not None,
        real_images=lambda: real_images(shards, options.split),
        instruments=instruments,
        slice_spacing_mm={
            record.subject: record.grid(config.data).slice_mm for record in subjects.records
        },
        **_coarse_classes(config),
    )
    metrics = [metric(context) for metric in all_metrics()]
    seen = _seen(model, subjects, options.split)
    return EvaluationSetup(model, options, shards, subjects, context, metrics, seen)


def _seen(
    model: EvaluatedModel, subjects: LabelledSubjects, split: Split
) -> Mapping[Split, Sequence[str]]:
    """Evaluated patients that the model has seen, which a warning says."""
    patients = {record.patient for record in subjects.records}
    if seen := seen_patients(model.trained, patients, split):
        logger.warning(
            "warning: the model has seen patients that it is evaluated on: %s of %s",
            described(seen), model.source,
        )  # fmt: skip
    return seen


def _coarse_classes(config: ExperimentConfig) -> dict[str, Any]:
    """Coarse ids and names for the metrics; empty if no class is finer than another."""
    taxonomy = config.data.taxonomy
    if all(entry.part_of is None for entry in taxonomy.classes):
        return {}
    return {"coarse_ids": taxonomy.coarse_ids, "coarse_names": taxonomy.coarse_names}


def open_instruments(
    config: ExperimentConfig, options: EvaluationOptions, own_segmenter: FindClasses | None = None
) -> Instruments:
    """Open the networks and files that the options name.

    Args:
        config: Experiment with the data that they must fit.
        options: Options of the evaluation.
        own_segmenter: Segmenter that was trained together with the model.

    Raises:
        UserError: A file cannot be opened, or does not fit the data.
    """
    segmenters: dict[str, FindClasses] = {}
    if options.segmenter is not None:
        name, find_classes = open_segmenter(options.segmenter, config)
        segmenters[name] = find_classes
    if own_segmenter is not None:
        segmenters[OWN] = own_segmenter
    masks: dict[str, FindClasses] = {}
    if options.masks is not None:
        masks[FOLDER] = masks_of_folder(options.masks, config, options.split, options.mask_ids)
    lpips = [open_lpips(name, *paths, options.sha256) for name, paths in options.lpips.items()]
    return Instruments(segmenters, masks, open_extractors(options), lpips)


def open_extractors(options: EvaluationOptions) -> list[FeatureExtractor]:
    """Open the feature extractors: radiomics, which need no weights, and those of weight files.

    Raises:
        UserError: A weight file cannot be used.
    """
    found: list[FeatureExtractor] = [RadiomicsExtractor()]
    if (path := options.inception) is not None:
        found.append(InceptionExtractor(path, options.sha256.get(path)))
    if (path := options.segmenter) is not None and not path.is_dir():
        found.append(SegmenterExtractor(path, options.sha256.get(path)))
    return found


def real_images(shards: Shards, split: Split) -> Iterator[np.ndarray]:
    """Iterate over the real images of a split.

    Yields:
        `[slices, height, width]` in [-1, 1] of one subject.
    """
    for record in shards.records.subjects:
        if record.split == split and "image" in record.kinds and record.num_slices:
            yield shards.read_image(record)


def unpaired_appearance(config: ExperimentConfig, shards: Shards) -> Appearance | None:
    """Grey levels of the classes from unpaired data; None, with a log line, if there are none."""
    from medusis_tf.appearance.estimation import load_or_estimate

    try:
        return load_or_estimate(config, shards)
    except UserError as error:
        logger.info("no baselines from unpaired appearance: %s", error)
        return None


def _check_split(config: ExperimentConfig, split: Split) -> None:
    entries = [entry for entry in config.data.subjects if entry.split == split]
    if not any(entry.has_label_map for entry in entries):
        raise UserError(
            f"the {split} split of {config.name} has no subject with a label map to paint. "
            f"Its subjects: {', '.join(entry.subject for entry in entries) or 'none'}. "
            "Add a label map to one of them, or choose another --split."
        )


def _check_masks(model: EvaluatedModel, options: EvaluationOptions) -> None:
    if options.masks is not None and model.painter.is_random and len(options.seeds) > 1:
        raise UserError(
            "--masks belong to the images of one seed. Received: --seeds "
            f"{','.join(map(str, options.seeds))}. Give the seed of the images that were segmented."
        )

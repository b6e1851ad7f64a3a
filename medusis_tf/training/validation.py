"""Measure the synthetic images of validation patients during training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.training import VALIDATION_METRICS, MetricName
from medusis_tf.data.shards.labelled_subjects import LabelledSubject, LabelledSubjects
from medusis_tf.data.shards.spread import spread_centres
from medusis_tf.errors import UserError
from medusis_tf.methods.painting import paint_slices
from medusis_tf.methods.random_numbers import Purpose, step_seed
from medusis_tf.metrics.distribution import FeatureSet, compare
from medusis_tf.metrics.extractors import RadiomicsExtractor
from medusis_tf.metrics.grey_levels import learn_grey_levels
from medusis_tf.metrics.measure import PatientValues
from medusis_tf.metrics.outline import outline_agreement
from medusis_tf.metrics.similarity import compare_slices
from medusis_tf.metrics.wasserstein import PyramidPatches, sliced_wasserstein

if TYPE_CHECKING:
    from medusis_tf.data.shards.manifest import SubjectRecord
    from medusis_tf.data.shards.shards import Shards

logger = logging.getLogger(__name__)


def open_validation(
    config: ExperimentConfig, shards: Shards, continues_labels: bool = False
) -> Validation | None:
    """Open the validation of a run; None if the run is not validated.

    Args:
        config: The experiment.
        shards: Prepared slices of the experiment.
        continues_labels: Whether the painter expects labels that continue beyond the field of view.

    Raises:
        UserError: The configuration requires validation, and the validation split lacks slices.
    """
    settings = config.training.validation
    if settings.interval == 0:
        return None
    split = LabelledSubjects(shards, config.data, "validation")
    together = config.volumes is not None
    chosen = [
        split.read(record).at(places)
        for record, places in spread(split.records, settings.slices, together)
    ]
    if chosen:
        return Validation(config, shards, chosen, continues_labels)
    if settings.interval is not None:
        raise UserError(
            "training.validation.interval needs slices of label maps in the validation split, and "
            "none has enough foreground. Lower data.minimum_foreground, or remove the interval."
        )
    logger.info(
        "no validation: the validation split has no label map; there will be no checkpoints/best"
    )
    return None


class Validation:
    """Metrics of the same slices with the same noises at every step.

    All slices of a subject share one noise. Means are taken over patients' means, as in an
    evaluation, and then over the `noises` draws of the configuration. There are few slices: compare
    the values only with each other, within a run.
    Validation does not change any random state of the training.

    Args:
        config: The experiment.
        shards: Prepared slices of the experiment. The real images of the validation split are the
            reference; the grey levels of air and tissue are learned from the training images.
        subjects: Chosen slices of the validation split.
        continues_labels: As in `open_validation`.

    Attributes:
        metric: Metric that decides which weights are the best.

    Raises:
        UserError: The split has no slices for the chosen metric.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        shards: Shards,
        subjects: Sequence[LabelledSubject],
        continues_labels: bool = False,
    ):
        self._config, self._subjects = config, subjects
        self._continues = continues_labels
        self._levels = learn_grey_levels(shards)
        self._extractor = RadiomicsExtractor()
        self._real = FeatureSet(self._extractor.dimension)
        self._real_patches = PyramidPatches()
        for images in _real_images(shards, config.training.validation.slices):
            self._real.update(self._extractor(images))
            self._real_patches.update(images)
        self._seed = step_seed(config.seed, tf.constant(0), Purpose.VALIDATION_NOISE)
        self.metric = self._choose_metric()
        slices = sum(len(subject.label_map) for subject in subjects)
        logger.info(
            "validation: %d slices of %s; the %s %s is the best",
            slices,
            "1 subject" if len(subjects) == 1 else f"{len(subjects)} subjects",
            "highest" if VALIDATION_METRICS[self.metric].higher_is_better else "lowest",
            self.metric,
        )

    def is_due(self, step: int, last_step: int) -> bool:
        """Whether to validate after a step."""
        training = self._config.training
        interval = training.validation.interval or training.panel_interval
        return step == last_step or step % interval == 0

    def measure(self, painter: keras.Model) -> dict[str, float]:
        """Synthesize images and measure them.

        Args:
            painter: Painter of a method, with up-to-date batch statistics.

        Returns:
            Metric to value, in the order of `config.training.VALIDATION_METRICS`. Metrics that do
            not exist or are not finite are left out; all of them if an image is not finite.
        """
        draws = [self._measure(painter, noises) for noises in self._draws(painter.noise_shape)]
        found = {
            name: float(np.mean([draw.get(name, np.nan) for draw in draws]))
            for name in VALIDATION_METRICS
        }
        return {name: value for name, value in found.items() if np.isfinite(value)}

    def _measure(
        self, painter: keras.Model, noises: Sequence[tf.Tensor | None]
    ) -> dict[str, float]:
        """Metrics of one draw of noises, one for each subject; empty if an image is not finite."""
        values = PatientValues()
        features, patches = FeatureSet(self._extractor.dimension), PyramidPatches()
        for subject, noise in zip(self._subjects, noises, strict=True):
            label_map = subject.continued_label_map if self._continues else subject.label_map
            painted = paint_slices(painter, label_map, noise, self._config, subject.slice_indices)
            images = subject.with_air_outside(painted.mean(axis=-1))
            if not np.isfinite(images).all():
                return {}
            _add_similarity(values, subject, images)
            outline = outline_agreement(images, subject.label_map, self._levels)
            values.add(subject.patient, "outline_dice", [outline.dice])
            features.update(self._extractor(images))
            patches.update(images)
        found = self._distances(features, patches)
        return found | {name: summary["mean"] for name, summary in values.summaries().items()}

    def _distances(self, features: FeatureSet, patches: PyramidPatches) -> dict[str, float]:
        """Compute the distances to the real images, if there are any."""
        if not self._has_images:
            return {}
        levels = sliced_wasserstein(patches, self._real_patches)
        distances = compare(features, self._real, self._extractor.has_units)
        return {
            "sliced_wasserstein": float(np.mean(levels)),
            # Undefined if fewer than two images show a body.
            "frechet_radiomics": distances.get("frechet_distance", np.nan),
        }

    def _draws(self, shape: tuple[int, ...] | None) -> list[list[tf.Tensor | None]]:
        """Draws of one noise for each subject; one draw of None for a painter without noise."""
        count = len(self._subjects)
        if shape is None:
            return [[None] * count]
        draws = []
        for number in range(self._config.training.validation.noises):
            seed = self._seed + tf.constant([0, number], tf.int64)
            draws.append(list(tf.unstack(tf.random.stateless_normal([count, *shape], seed))))
        return draws

    @property
    def _has_images(self) -> bool:
        return self._real.count > 1  # a distance between distributions needs two

    def _choose_metric(self) -> MetricName:
        metric = self._config.training.validation.best_metric
        if metric == "auto":
            return "frechet_radiomics" if self._has_images else "outline_dice"
        has_pairs = any(subject.image is not None for subject in self._subjects)
        there = {"label map": True, "image": self._has_images, "label map and image": has_pairs}
        if not there[needs := VALIDATION_METRICS[metric].needs]:
            raise UserError(
                f"training.validation.best_metric={metric} needs slices with {needs} in the "
                "validation split, and none of the chosen slices has them. Raise "
                "training.validation.slices, or use auto."
            )
        return metric


def spread(
    records: Sequence[SubjectRecord], count: int, together: bool = False
) -> list[tuple[SubjectRecord, np.ndarray]]:
    """Choose slices that are spread evenly over subjects, and over the slices of each subject.

    Args:
        records: Subjects.
        count: Number of slices; fewer are chosen if subjects have fewer slices than their share.
        together: Whether the slices of a subject follow each other, in its middle.

    Returns:
        Subjects with at least one chosen slice, and the places of their chosen slices.
    """
    chosen = []
    for number, record in enumerate(records):
        share = (number + 1) * count // len(records) - number * count // len(records)
        if (taken := min(share, record.num_slices)) > 0:
            places = spread_centres(taken, record.num_slices)
            if together:
                places = (record.num_slices - taken) // 2 + np.arange(taken)
            chosen.append((record, places))
    return chosen


def _real_images(shards: Shards, count: int) -> list[np.ndarray]:
    """Read chosen real images of the validation split: `[slices, height, width]` per subject."""
    records = [
        record
        for record in shards.records.subjects
        if record.split == "validation" and "image" in record.kinds
    ]
    return [shards.read_image(record)[places] for record, places in spread(records, count)]


def _add_similarity(values: PatientValues, subject: LabelledSubject, images: np.ndarray) -> None:
    """Add the similarity to the true images, if the subject has any."""
    for comparison, label_map in compare_slices(subject, images):
        for region, mask in (("slice", None), ("body", label_map != 0)):
            for name, value in asdict(comparison.inside(mask)).items():
                # The PSNR of equal images is infinite, and would make the mean infinite.
                finite = value if np.isfinite(value) else np.nan
                values.add(subject.patient, f"{name}_{region}", [finite])

"""Judge the generator on validation patients while it trains."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.training import VALIDATION_METRICS, MetricName
from medusis_tf.data.shards.labelled_subjects import LabelledSubject, LabelledSubjects
from medusis_tf.errors import UserError
from medusis_tf.methods.random_numbers import Purpose, step_seed
from medusis_tf.metrics.distribution import FeatureSet, compare
from medusis_tf.metrics.extractors import RadiomicsExtractor
from medusis_tf.metrics.grey_levels import learn_grey_levels
from medusis_tf.metrics.measure import PatientValues
from medusis_tf.metrics.outline import outline_agreement
from medusis_tf.metrics.similarity import Comparison, to_unit_range
from medusis_tf.metrics.sliced_wasserstein import PyramidPatches, sliced_wasserstein

if TYPE_CHECKING:
    from medusis_tf.data.shards.manifest import SubjectRecord
    from medusis_tf.data.shards.shards import Shards

logger = logging.getLogger(__name__)

# Painting needs less memory than a training step of as many.
_MOST_AT_ONCE = 8


def open_validation(config: ExperimentConfig, shards: Shards) -> Validation | None:
    """What is measured while a run trains; None if nothing is.

    Args:
        config: The experiment.
        shards: Its prepared slices.

    Raises:
        UserError: It is asked for, and the validation split has no slices that it needs.
    """
    settings = config.training.validation
    if settings.interval == 0:
        return None
    split = LabelledSubjects(shards, config.data, "validation")
    chosen = [
        split.read(record).at(places) for record, places in spread(split.records, settings.slices)
    ]
    if chosen:
        return Validation(config, shards, chosen)
    if settings.interval is not None:
        raise UserError(
            "training.validation.interval needs slices of label maps in the validation split, and "
            "none shows enough foreground. Lower data.minimum_foreground, or leave interval out."
        )
    logger.info("no validation: the validation split has no label map; checkpoints/best stays out")
    return None


class Validation:
    """Figures of the same slices with the same noises every time.

    One noise serves all slices of a subject, and each subject has its own. Means are those of
    patients' means, as in an evaluation; slices are few, so that figures compare with each other
    in a run and with no others. Nothing here draws from a random state that training knows.

    Args:
        config: The experiment.
        shards: Its prepared slices: real images of the validation split are compared with, and
            what is air and what tissue is learnt from training images.
        subjects: Chosen slices of the validation split.

    Attributes:
        metric: The figure that decides which weights are the best.

    Raises:
        UserError: The split has no slices for the chosen metric.
    """

    def __init__(
        self, config: ExperimentConfig, shards: Shards, subjects: Sequence[LabelledSubject]
    ):
        self._config, self._subjects = config, subjects
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
            "validation: %d slices of %s; %s %s is the best",
            slices,
            "1 subject" if len(subjects) == 1 else f"{len(subjects)} subjects",
            "highest" if VALIDATION_METRICS[self.metric].higher_is_better else "lowest",
            self.metric,
        )

    def is_due(self, step: int, last_step: int) -> bool:
        """Whether to measure after a step."""
        training = self._config.training
        interval = training.validation.interval or training.panel_interval
        return step == last_step or step % interval == 0

    def measure(self, generator: keras.Model) -> dict[str, float]:
        """Paint and judge.

        Args:
            generator: The EMA generator, its batch statistics refreshed.

        Returns:
            Figure to value, in the order of `config.validation.VALIDATION_METRICS`; one that does not exist,
            or is not finite, is left out. Nothing if pictures are not finite.
        """
        values = PatientValues()
        features, patches = FeatureSet(self._extractor.dimension), PyramidPatches()
        noises = self._noises(generator.noise_shape)
        for subject, noise in zip(self._subjects, noises, strict=True):
            pictures = self._paint(generator, subject.label_map, noise)
            if not np.isfinite(pictures).all():
                return {}
            _judge(values, subject, pictures)
            outline = outline_agreement(pictures, subject.label_map, self._levels)
            values.add(subject.patient, "outline_dice", [outline.dice])
            features.update(self._extractor(pictures))
            patches.update(pictures)
        found = self._distances(features, patches)
        found |= {name: summary["mean"] for name, summary in values.summaries().items()}
        return {name: found[name] for name in VALIDATION_METRICS if np.isfinite(found.get(name, np.nan))}

    def _distances(self, features: FeatureSet, patches: PyramidPatches) -> dict[str, float]:
        """To the real images, if there are any."""
        if not self._has_images:
            return {}
        levels = sliced_wasserstein(patches, self._real_patches)
        distances = compare(features, self._real, self._extractor.has_units)
        return {
            "sliced_wasserstein": float(np.mean(levels)),
            # There is none while bodies can be seen in less than two pictures.
            "frechet_radiomics": distances.get("frechet_distance", np.nan),
        }

    def _paint(
        self, generator: keras.Model, label_map: np.ndarray, noise: tf.Tensor | None
    ) -> np.ndarray:
        """`[slices, height, width]`, the mean of the channels if several."""
        pictures = np.empty(label_map.shape, np.float32)
        at_once = min(self._config.training.batch_size, _MOST_AT_ONCE)
        for start in range(0, len(label_map), at_once):
            part = slice(start, start + at_once)
            one_hot = tf.one_hot(label_map[part], self._config.data.num_classes)
            noises = None if noise is None else tf.repeat(noise[None], len(one_hot), axis=0)
            pictures[part] = generator(one_hot, noises, training=False).numpy().mean(axis=-1)
        return pictures

    def _noises(self, shape: tuple[int, ...] | None) -> list[tf.Tensor | None]:
        """One for each subject; None for a generator without noise."""
        if shape is None:
            return [None] * len(self._subjects)
        noises = tf.random.stateless_normal([len(self._subjects), *shape], self._seed)
        return list(tf.unstack(noises))

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
                f"training.validation.best_metric needs slices with {needs} in the validation "
                f"split, and there are none among those chosen. Received: {metric}. Raise "
                "training.validation.slices, or use auto."
            )
        return metric


def spread(records: Sequence[SubjectRecord], count: int) -> list[tuple[SubjectRecord, np.ndarray]]:
    """Choose slices as evenly as can be, over the subjects and over the height of each.

    Args:
        records: Subjects.
        count: Slices to choose; fewer where a subject has not as many as its share.

    Returns:
        Those subjects that have a share, with the places of their slices.
    """
    chosen = []
    for number, record in enumerate(records):
        share = (number + 1) * count // len(records) - number * count // len(records)
        if (taken := min(share, record.num_slices)) > 0:
            places = record.num_slices * (2 * np.arange(taken) + 1) // (2 * taken)
            chosen.append((record, places))
    return chosen


def _real_images(shards: Shards, count: int) -> list[np.ndarray]:
    """Chosen real images of the validation split: `[slices, height, width]` of each subject."""
    records = [
        record
        for record in shards.records.subjects
        if record.split == "validation" and "image" in record.kinds
    ]
    return [shards.read_image(record)[places] for record, places in spread(records, count)]


def _judge(values: PatientValues, subject: LabelledSubject, pictures: np.ndarray) -> None:
    """Compare with the true images, where there are such."""
    if subject.image is None:
        return
    units = to_unit_range(pictures), to_unit_range(subject.image)
    for picture, true_image, label_map in zip(*units, subject.label_map, strict=True):
        comparison = Comparison(picture, true_image)
        for region, mask in (("slice", None), ("body", label_map != 0)):
            for name, value in comparison.inside(mask).figures().items():
                # The PSNR of equal images is infinite, and no mean of anything.
                finite = value if np.isfinite(value) else np.nan
                values.add(subject.patient, f"{name}_{region}", [finite])

"""Training sets of the study: painted label maps, and real images with their label maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from medusis_tf.config.data import DataConfig, Split
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.taxonomy import ClassEntry
from medusis_tf.data.shards.labelled_subjects import LabelledSubjects
from medusis_tf.data.shards.spread import step_within
from medusis_tf.errors import UserError
from medusis_tf.evaluation.painters import Painter
from medusis_tf.evaluation.unseen_patients import described, seen_patients
from medusis_tf.studies.downstream.scores import TestVolume
from medusis_tf.training.segmenter import Pairs

if TYPE_CHECKING:
    from pathlib import Path

    from medusis_tf.data.shards.manifest import SubjectRecord
    from medusis_tf.data.shards.shards import Shards

# Slices in memory: one gigabyte at 256x256.
MAX_SLICES = 4000


@dataclass(frozen=True, eq=False)
class StudyData:
    """The data of one configuration.

    Attributes:
        config: Configuration.
        shards: Its prepared slices.
    """

    config: ExperimentConfig
    shards: Shards

    @cached_property
    def coarse_ids(self) -> np.ndarray:
        """`[num_classes]` place of the coarse class of every class, in `classes`."""
        ids = self.config.data.taxonomy.coarse_ids
        return np.searchsorted(sorted(set(ids)), ids).astype(np.uint8)

    @cached_property
    def classes(self) -> tuple[ClassEntry, ...]:
        """The coarse classes, with ids from 0."""
        data = self.config.data
        return tuple(
            ClassEntry(id=place, name=name, colour=data.classes[id_].colour)
            for place, (id_, name) in enumerate(data.taxonomy.coarse_names.items())
        )

    @cached_property
    def training(self) -> LabelledSubjects:
        """Training subjects with a label map."""
        return LabelledSubjects(self.shards, self.config.data, "train")

    def painted(self) -> list[SubjectRecord]:
        """Training subjects whose label maps are painted."""
        names = {entry.subject for entry in self.shards.subjects("train", "label_map")}
        return [record for record in self.training.records if record.subject in names]

    def pairs(self) -> dict[str, list[SubjectRecord]]:
        """Patients of the training split with label map and image, and their subjects."""
        found: dict[str, list[SubjectRecord]] = {}
        for record in self.shards.pairs("train"):
            found.setdefault(record.patient, []).append(record)
        return found

    def volumes(self, split: Split) -> Iterator[TestVolume]:
        """Volumes of a split with label map and image; their label maps have the coarse classes."""
        subjects = LabelledSubjects(self.shards, self.config.data, split)
        for record in self.shards.pairs(split):
            subject = subjects.read(record)
            if subject.image is not None:
                yield TestVolume(
                    subject.patient,
                    self.coarse_ids[subject.label_map],
                    subject.image,
                    subject.slice_indices,
                    (record.grid(self.config.data).slice_mm, *subject.spacing_mm),
                )


class TrainingSets:
    """Makes the training sets; all of them have the coarse classes.

    Args:
        labels: Data with the label maps to paint.
        pairs: Data with real images and their label maps.
        painters: Painters of the label maps by the key of the training set.
        draws: Images that a random painter paints of each label map.

    Attributes:
        label_patients: Patients whose label maps are painted.
        pair_patients: Patients with real images, at most as many as `label_patients`.
    """

    def __init__(
        self, labels: StudyData, pairs: StudyData, painters: Mapping[str, Painter], draws: int
    ):
        self._labels, self._pairs = labels, pairs
        self._painters, self._draws = painters, draws
        self.label_patients = list(dict.fromkeys(each.patient for each in labels.painted()))
        if not self.label_patients:
            raise UserError(
                f"no training subject of {labels.config.name} has a label map to paint. "
                "Give a configuration with label maps: --config FILE."
            )
        # The same patients first: then only the images differ.
        ordered = sorted(pairs.pairs(), key=lambda patient: patient not in self.label_patients)
        self.pair_patients = ordered[: len(self.label_patients)]

    def painted(self, source: str, seed: int) -> Pairs:
        """Images of all label maps; those of a random painter differ between seeds.

        Args:
            source: Key of the training set.
            seed: Seed of the study.
        """
        painter, records = self._painters[source], self._labels.painted()
        draws = self._draws if painter.is_random else 1
        step = step_within(MAX_SLICES, draws * sum(each.num_slices for each in records))
        parts = []
        for draw in range(draws):
            for place, record in enumerate(records):
                subject = self._labels.training.read(record).every(step)
                [number] = np.random.SeedSequence([seed, draw, place]).generate_state(1)
                images = np.clip(painter.paint(subject, int(number)), -1, 1)
                parts.append(Pairs(self._labels.coarse_ids[subject.label_map], images))
        return Pairs.join(parts)

    def real(self, patients: Sequence[str]) -> Pairs:
        """Real images of patients, with their label maps."""
        found = self._pairs.pairs()
        records = [record for patient in patients for record in found[patient]]
        step = step_within(MAX_SLICES, sum(each.num_slices for each in records))
        subjects = [self._pairs.training.read(record).every(step) for record in records]
        return Pairs.join(
            [
                Pairs(self._pairs.coarse_ids[subject.label_map], subject.image)
                for subject in subjects
                if subject.image is not None
            ]
        )

    def choose_patients(self, count: int, seed: int) -> list[str]:
        """Some patients with real images: others for another seed, more of them for a larger count.

        Args:
            count: Number of patients.
            seed: Seed of the study.
        """
        order = np.random.default_rng(seed).permutation(len(self.pair_patients))
        return [self.pair_patients[place] for place in order[:count]]


def check_data(labels: StudyData, pairs: StudyData, split: Split) -> None:
    """Check that two data sets belong together, and that no test patient was trained on.

    Args:
        labels: Data with the label maps to paint, and the images that the generator learned from.
        pairs: Data with real images and their label maps.
        split: Split of the test patients, of `pairs`.

    Raises:
        UserError: Classes or slices differ, there is nothing to test on, or a patient is in both.
    """
    ours, theirs = labels.config.data, pairs.config.data
    compared = {
        "coarse classes": ([e.name for e in labels.classes], [e.name for e in pairs.classes]),
        "image_size": (tuple(ours.image_size), tuple(theirs.image_size)),
        "field_of_view_mm": (ours.field_of_view_mm, theirs.field_of_view_mm),
        "axis": (ours.axis, theirs.axis),
    }
    for name, (one, other) in compared.items():
        if one != other:
            raise UserError(
                f"{labels.config.name} and {pairs.config.name} differ in {name}: {one} and "
                f"{other}. Give a --data FILE with the same slices and classes."
            )
    tested = {record.patient for record in pairs.shards.pairs(split)}
    if not tested:
        raise UserError(
            f"the {split} split of {pairs.config.name} has no subject with both a label map and an "
            "image to test on. Name a configuration that has some with --data FILE."
        )
    for data in (labels, pairs):
        known = {entry.patient_name for entry in data.config.data.subjects_of("train")}
        if seen := sorted(tested & known):
            raise UserError(
                f"{', '.join(seen)}: in the {split} split of {pairs.config.name}, but also in the "
                f"training split of {data.config.name}. Test patients must be unseen."
            )


def check_unseen(trained: DataConfig | None, source: Path, pairs: StudyData, split: Split) -> None:
    """Check that the generator has not seen a test patient.

    Args:
        trained: Data that the generator was trained on; None if unknown.
        source: Folder of the generator.
        pairs: Data with real images and their label maps.
        split: Split of the test patients, of `pairs`.

    Raises:
        UserError: A test patient is in its training split, or, of `test`, in its validation split.
    """
    tested = {record.patient for record in pairs.shards.pairs(split)}
    if seen := seen_patients(trained, tested, split):
        raise UserError(
            f"the generator {source} has seen patients of the {split} split of "
            f"{pairs.config.name}: {described(seen)} of its own data. Test patients must be unseen."
        )

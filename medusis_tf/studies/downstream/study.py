"""Train a segmenter for every row and seed, and score it on the test patients."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np

from medusis_tf.appearance.appearance import Appearance
from medusis_tf.config.data import Split
from medusis_tf.data.shards.spread import spread_centres
from medusis_tf.errors import UserError
from medusis_tf.evaluation.painters import Painter
from medusis_tf.methods.med_usis.config import require_med_usis
from medusis_tf.metrics.independent_segmenter import (
    IndependentSegmenter,
    SegmenterRecord,
    class_finder,
    load_weights,
)
from medusis_tf.studies.downstream.rows import REAL, SOURCES, Row, make_rows, trainings
from medusis_tf.studies.downstream.scores import TestVolume, score
from medusis_tf.studies.downstream.store import StudyStore
from medusis_tf.studies.downstream.stored_result import Scored
from medusis_tf.studies.downstream.summary import Result
from medusis_tf.studies.downstream.training_sets import StudyData, TrainingSets
from medusis_tf.training.segmenter import LEARNING_RATE, Pairs, SegmenterTraining

logger = logging.getLogger("medusis_tf.downstream_segmentation")

# Fine-tuning takes a quarter of the steps, with a third of the learning rate.
FINE_TUNING_STEPS, FINE_TUNING_RATE = 4, 3
NUM_EXAMPLES = 3
TEST = "test"
# Two quiet cores, 128x128, base_channels 16, 5 levels, 8 slices per step: 0.2 s.
_SECONDS = 0.2 / (128 * 128 * 8 * 16)


@dataclass(frozen=True)
class StudyOptions:
    """What is trained.

    Attributes:
        rows: Rows in the order of the tables.
        seeds: Seeds of weights, order, augmentation, noise and contrasts.
        steps: Training steps of a row.
        batch_size: Slices per step.
        draws: Images that a random painter paints of each label map.
        split: Split of the test patients.
    """

    rows: Sequence[Row]
    seeds: Sequence[int]
    steps: int
    batch_size: int
    draws: int
    split: Split = "test"

    @property
    def fine_tuning_steps(self) -> int:
        """Training steps after a pre-training."""
        return max(1, self.steps // FINE_TUNING_STEPS)

    def steps_of(self, row: Row) -> int:
        """Training steps of a row after its start."""
        return self.steps if row.start is None else self.fine_tuning_steps


class DownstreamStudy:
    """All rows and seeds of a study.

    Args:
        labels: Data with the label maps to paint.
        pairs: Data with real images and their label maps.
        painters: Painters of the label maps by the key of the training set.
        options: What is trained.
        store: Folder of the study.
    """

    def __init__(
        self,
        labels: StudyData,
        pairs: StudyData,
        painters: Mapping[str, Painter],
        options: StudyOptions,
        store: StudyStore,
    ):
        self.labels, self.pairs, self.options, self.store = labels, pairs, options, store
        self.sets = TrainingSets(labels, pairs, painters, options.draws)
        self.tested = pairs.shards.pairs(options.split)
        names = tuple(entry.name for entry in labels.classes)
        self.record = SegmenterRecord(
            class_names=names,
            image_size=labels.config.data.image_size,
            spacing_mm=labels.config.data.pixel_spacing_mm,
            network=require_med_usis(labels.config).segmenter,
            subjects=(),
            steps=options.steps,
            held_out="not measured",
            held_out_dice={},
        )
        tested = tuple(dict.fromkeys(record.patient for record in self.tested))
        self.scored = Scored(tested, names[1:])
        self._training = SegmenterTraining(self.record, options.batch_size)

    @property
    def missing(self) -> list[tuple[Row, int]]:
        """Rows and seeds that are not finished, in the order of training."""
        return [
            (row, seed)
            for row, seed in trainings(self.options.rows, self.options.seeds)
            if self._result(row, seed) is None
        ]

    @property
    def expected_seconds(self) -> float:
        """Estimate of the time on two quiet cores for what is missing."""
        height, width = self.record.image_size
        slices = sum(self.options.steps_of(row) for row, _ in self.missing)
        channels = self.record.network.base_channels
        return _SECONDS * slices * self.options.batch_size * height * width * channels

    def results(self) -> list[Result]:
        """All results in the folder, those of earlier commands too, sorted by row and by seed."""
        finished = self.store.finished()
        counts = sorted({row.patients for row, _ in finished if row.patients is not None})
        found = (
            self._result(row, seed)
            for row in make_rows(tuple(SOURCES), counts)
            for seed in sorted(seed for each, seed in finished if each == row)
        )
        return [result for result in found if result is not None]

    def run(self) -> None:
        """Train and score what is missing; every result is stored when it is finished."""
        missing, since = self.missing, time.perf_counter()
        steps = [self.options.steps_of(row) for row, _ in missing]
        for place, (row, seed) in enumerate(missing):
            left = ""
            if place:
                seconds = (time.perf_counter() - since) * sum(steps[place:]) / sum(steps[:place])
                left = f", {timedelta(seconds=round(seconds))} left"
            logger.info("%d of %d: %s, seed %d%s", place + 1, len(missing), row.title, seed, left)
            result = self._train(row, seed)
            means = [np.nanmean([c.dice for c in p.values()]) for p in result.scores.values()]
            logger.info("mean Dice %.3f", float(np.mean(means)))
            self.store.save_result(result)

    def _train(self, row: Row, seed: int) -> Result:
        patients = self._patients(row, seed)
        if row.source == REAL:
            pairs = self.sets.real(patients)
        else:
            pairs = self.sets.painted(row.source, seed)
        self._training.restart(seed)
        rate = LEARNING_RATE
        if row.start is not None:
            self._load_start(Row(row.start), seed)
            rate /= FINE_TUNING_RATE
        self._training.fit(pairs, self.options.steps_of(row), seed, rate)
        network = self._training.network
        if not row.is_fine_tuning:
            subjects = {"subjects": tuple(patients)}
            record = self.record.model_copy(update=subjects)
            IndependentSegmenter(network, record).save(self.store.weights(row, seed))

        find = class_finder(network)
        if seed == self.options.seeds[0] and not row.is_fine_tuning:
            self._save_examples(row, pairs, find)
        scores = score(find, self._volumes(), self.record.class_names)
        return Result(row, seed, tuple(patients), scores)

    def _patients(self, row: Row, seed: int) -> list[str]:
        """Patients whose label maps or images the row is trained on."""
        if row.source != REAL:
            return self.sets.label_patients
        if row.patients is None:
            return self.sets.pair_patients
        return self.sets.choose_patients(row.patients, seed)

    def _result(self, row: Row, seed: int) -> Result | None:
        return self.store.result(row, seed, self._patients(row, seed), self.scored)

    def _load_start(self, row: Row, seed: int) -> None:
        """Continue from the segmenter of another row."""
        path = self.store.weights(row, seed)
        problem = "is missing"
        if path.is_file():
            try:
                load_weights(self._training.network, path)
            except ValueError as error:
                problem = f"cannot be read ({error})"
            else:
                return
        raise UserError(
            f"{path} {problem}, from which a segmenter would be fine-tuned. Restore it, or "
            f"delete {self.store.result_path(row, seed)} to train it again."
        )

    def _save_examples(
        self, row: Row, pairs: Pairs, find: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        """Keep slices of the training set and of the classes found, for the report."""
        shown = spread_centres(NUM_EXAMPLES, len(pairs.image))
        test = self._test_slices()
        kept = {"label_map": pairs.label_map[shown], "image": pairs.image[shown]}
        self.store.save_examples(row.key, {**kept, "found": find(test["image"])})
        self.store.save_examples(TEST, test)

    def _test_slices(self) -> dict[str, np.ndarray]:
        """The middle slices of the first volumes."""
        shown = [
            (volume.label_map[middle], volume.image[middle])
            for volume in itertools.islice(self._volumes(), NUM_EXAMPLES)
            for middle in [len(volume.image) // 2]
        ]
        label_maps, images = zip(*shown, strict=True)
        return {"label_map": np.stack(label_maps), "image": np.stack(images)}

    def _volumes(self) -> Iterator[TestVolume]:
        return self.pairs.volumes(self.options.split)


def settings(
    study: DownstreamStudy, model: str | None, greys: Appearance | None = None
) -> dict[str, Any]:
    """Settings on which all results of a folder depend; rows and seeds may be added later.

    Args:
        study: Study.
        model: Title of the generator, with its step; None without one.
        greys: Estimated greys; None if no row needs them.
    """
    options = study.options
    return {
        "steps": options.steps,
        "batch_size": options.batch_size,
        "draws": options.draws,
        "split": options.split,
        "model": model,
        "greys": None if greys is None else np.round(greys.means, 3).tolist(),
        "network": study.record.network.model_dump(mode="json"),
        "classes": list(study.record.class_names),
        "labels": _contents(study.labels, study.sets.label_patients),
        "pairs": _contents(study.pairs, study.sets.pair_patients),
        "test": _contents(study.pairs, {record.patient for record in study.tested}),
    }


def _contents(data: StudyData, patients: Iterable[str]) -> dict[str, str]:
    """Hashes of everything that determines the slices, by subject."""
    chosen = set(patients)
    return {e.subject: e.content for e in data.shards.records.subjects if e.patient in chosen}

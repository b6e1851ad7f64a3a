"""Classes that segmenters find in the images, compared with the label maps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medusis_tf.data.batches.tiles import without_gaps
from medusis_tf.metrics.measure import PatientValues
from medusis_tf.metrics.metric import Measure, Metric
from medusis_tf.metrics.overlap import ConfusionMatrix, hd95
from medusis_tf.metrics.tables import Column, Content, MetricTable, results_of

if TYPE_CHECKING:
    from medusis_tf.data.shards.labelled_subjects import LabelledSubject


# Tables of more coarse classes show their mean only.
_MAX_COARSE_COLUMNS = 8

# Returns the class ids found in a subject's images, in their shape.
FindClasses = Callable[["LabelledSubject", np.ndarray], np.ndarray]


@dataclass(frozen=True)
class CoarseSegmenter:
    """A segmenter that finds the coarse classes only, by their ids in the class table."""

    find_classes: FindClasses

    def __call__(self, subject: LabelledSubject, images: np.ndarray) -> np.ndarray:
        """Class ids in a subject's images."""
        return self.find_classes(subject, images)


class SegmentationMeasure:
    """Dice, IoU and confusion of all pixels, Dice of volumes, HD95 of slices and volumes in mm.

    Only the confusion matrix counts background. A class that occurs neither in the label maps nor
    in the images is left out. A class that occurs in one of the two has Dice 0 and no HD95.

    With finer classes, Dice is also measured of the coarse ones, so that experiments with other
    finer classes compare. A `CoarseSegmenter` is measured by coarse classes alone.

    Args:
        class_names: Names of class ids 0, 1 and so on.
        find_classes: Segmenter.
        coarse_ids: Id of the coarse class of each class; empty if no class is finer.
        coarse_names: Names of the coarse classes by id.
        slice_spacing_mm: Distance between neighbouring slices, by subject; without one, a subject
            has no HD95 of its volume.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        find_classes: FindClasses,
        coarse_ids: Sequence[int] = (),
        coarse_names: Mapping[int, str] | None = None,
        slice_spacing_mm: Mapping[str, float] | None = None,
    ):
        self._names, self._find = list(class_names), find_classes
        self._coarse_ids, self._coarse_names = coarse_ids, coarse_names or {}
        self._is_coarse = bool(coarse_ids) and isinstance(find_classes, CoarseSegmenter)
        if self._is_coarse:
            self._names = [self._coarse_names.get(k, name) for k, name in enumerate(class_names)]
        self._matrix = ConfusionMatrix(len(class_names))
        self._dice, self._distances = PatientValues(), PatientValues()
        self._slice_spacing_mm = slice_spacing_mm or {}
        self._volume_distances = PatientValues()

    def update(self, subject: LabelledSubject, images: np.ndarray, seed: int = 0) -> None:
        """Add a volume."""
        found, label_map = self._find(subject, images), subject.label_map
        if self._is_coarse:
            coarse = np.array(self._coarse_ids, np.uint8)
            found, label_map = coarse[found], coarse[label_map]
        volume = ConfusionMatrix(len(self._names))
        volume.update(label_map, found)
        self._matrix.counts += volume.counts
        for k, value in enumerate(volume.dice.tolist()):
            if k:
                self._dice.add(subject.patient, self._names[k], [value], seed)
        for wanted, read in zip(label_map, found, strict=True):
            for k in np.intersect1d(wanted, read).tolist():
                if k:
                    distance = hd95(wanted == k, read == k, subject.spacing_mm)
                    self._distances.add(subject.patient, self._names[k], [distance], seed)
        if subject.name in self._slice_spacing_mm:
            self._add_volume_distances(subject, label_map, found, seed)

    def _add_volume_distances(
        self, subject: LabelledSubject, label_map: np.ndarray, found: np.ndarray, seed: int
    ) -> None:
        spacing_mm = (self._slice_spacing_mm[subject.name], *subject.spacing_mm)
        wanted, read = (without_gaps(ids, subject.slice_indices)[0] for ids in (label_map, found))
        for k in np.intersect1d(wanted, read).tolist():
            if k:
                distance = hd95(wanted == k, read == k, spacing_mm)
                self._volume_distances.add(subject.patient, self._names[k], [distance], seed)

    def results(self) -> Mapping[str, Any]:
        """`mean_dice`, `mean_iou`, `classes`, and `confusion` (rows: label map).

        With finer classes also `dice_coarse`: the `mean`, and the Dice of all pixels of each coarse
        class in `classes`.
        """
        pooled = {"dice": self._matrix.dice, "iou": self._matrix.iou}
        volumes, distances = self._dice.summaries(), self._distances.summaries()
        volume_distances = self._volume_distances.summaries()
        classes = {
            name: {
                **{metric: float(values[k]) for metric, values in pooled.items()},
                "volume_dice": volumes.get(name),
                "hd95_mm": distances.get(name),
                "volume_hd95_mm": volume_distances.get(name),
            }
            for k, name in enumerate(self._names)
            if k and not np.isnan(pooled["dice"][k])
        }
        means = {
            f"mean_{metric}": float(np.mean([row[metric] for row in classes.values()]))
            if classes
            else np.nan
            for metric in pooled
        }
        return {
            **means,
            **self._of_coarse_classes(),
            "classes": classes,
            "confusion": {"classes": list(self._names), "pixels": self._matrix.counts.tolist()},
        }

    def _of_coarse_classes(self) -> Mapping[str, Any]:
        if not self._coarse_ids:
            return {}
        values = self._matrix.grouped(self._coarse_ids).dice
        classes = {
            name: float(values[k])
            for k, name in self._coarse_names.items()
            if k and not np.isnan(values[k])
        }
        mean = float(np.mean(list(classes.values()))) if classes else np.nan
        return {"dice_coarse": {"mean": mean, "classes": classes}}


class SegmentationMetric(Metric):
    """Classes found by each segmenter, in `segmentation/SEGMENTER`."""

    def measures(self, is_model: bool = True) -> Mapping[str, Measure]:
        """One measure for each segmenter; masks were made of the model's own images only."""
        given = self.context.instruments
        segmenters = {**given.segmenters, **(given.masks if is_model else {})}
        return {
            f"segmentation/{name}": SegmentationMeasure(
                self.context.class_names,
                find,
                self.context.coarse_ids,
                self.context.coarse_names,
                self.context.slice_spacing_mm,
            )
            for name, find in segmenters.items()
        }

    @staticmethod
    def tables(content: Content) -> Iterable[MetricTable]:
        """One table for each segmenter of the model, and one of the coarse classes."""
        found = results_of(content, "segmentation")
        columns = [Column("mean Dice"), Column("mean IoU"), Column("mean HD95 mm", 1)]
        notes = ["of all pixels of the data set, mean over the classes that occur; HD95 of slices"]
        # Evaluations of earlier versions have no distances of volumes.
        if has_volumes := any(_has_volumes(part) for _, each in found for part in each.values()):
            columns += [Column("volume Dice"), Column("volume HD95 mm", 1)]
            notes.append(
                "volume: of each volume, HD95 in three dimensions; mean over patients, then over "
                "the classes"
            )
        for segmenter in found[0][1] if found else ():
            rows = [
                (name, _cells(each[segmenter], has_volumes))
                for name, each in found
                if segmenter in each
            ]
            yield MetricTable(f"Classes found by: {segmenter}", columns, rows, notes)
            yield _coarse_table(found, segmenter)


def _coarse_table(found: Sequence[tuple[str, Any]], segmenter: str) -> MetricTable:
    """Dice of the coarse classes; without rows if no class is finer."""
    results = {
        name: each[segmenter]["dice_coarse"]
        for name, each in found
        if "dice_coarse" in each.get(segmenter, {})
    }
    names = list(dict.fromkeys(name for each in results.values() for name in each["classes"]))
    shown = names if len(names) <= _MAX_COARSE_COLUMNS else []
    rows = [
        (name, [each["mean"], *(each["classes"].get(column) for column in shown)])
        for name, each in results.items()
    ]
    notes = [
        "Dice of all pixels, finer classes counted as the coarse ones that they are part of: "
        "compares with experiments that have other finer classes, or none"
    ]
    columns = [Column("mean Dice"), *map(Column, shown)]
    return MetricTable(f"Coarse classes found by: {segmenter}", columns, rows, notes)


def _has_volumes(found: Mapping[str, Any]) -> bool:
    return any(row.get("volume_hd95_mm") for row in found["classes"].values())


def _cells(found: Mapping[str, Any], has_volumes: bool) -> list[float | None]:
    keys = ["hd95_mm", *(["volume_dice", "volume_hd95_mm"] if has_volumes else [])]
    means = [_mean_over_classes(found, key) for key in keys]
    return [found["mean_dice"], found["mean_iou"], *means]


def _mean_over_classes(found: Mapping[str, Any], key: str) -> float | None:
    summaries = [row.get(key) for row in found["classes"].values()]
    means = [each["mean"] for each in summaries if each]
    return sum(means) / len(means) if means else None

"""Prepared data without preparing any: a manifest and slices in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from medusis_tf.config.data import DataConfig
from medusis_tf.data.intensities.intensity import IntensityScale
from medusis_tf.data.shards.manifest import (
    ClassRecord,
    Histogram,
    Manifest,
    SourceRecord,
    SubjectRecord,
)
from tests.training.tiny_experiment import CLASSES

LARGEST_IMAGE = 800.0


@dataclass(frozen=True)
class Slices:
    label_map: np.ndarray | None
    image: np.ndarray | None
    body_mask: np.ndarray | None
    slice_indices: np.ndarray


@dataclass(frozen=True)
class PreparedSubject:
    record: SubjectRecord
    slices: Slices


@dataclass(frozen=True)
class PreparedData:
    """Stands in for `medusis_tf.data.shards.shards.Shards`."""

    folder: Path
    records: Manifest
    slices: dict[str, Slices]
    was_read: list[str] = field(default_factory=list)

    def read(self, subject: str) -> Slices:
        self.was_read.append(subject)
        return self.slices[subject]


def prepared_subject(
    name: str,
    label_map: np.ndarray | None = None,
    image: np.ndarray | None = None,
    body_mask: np.ndarray | None = None,
    depth: int = 20,
    num_classes: int = len(CLASSES),
    **changes: Any,
) -> PreparedSubject:
    """A subject with the given slices, `[slices, height, width]`; `changes` go to its record."""
    kinds = {"label_map": label_map, "image": image, "body_mask": body_mask}
    present = [kind for kind, slices in kinds.items() if slices is not None]
    number = len(kinds[present[0]])
    indices = tuple(range(2, 2 + number))
    values = {
        "subject": name,
        "patient": name,
        "split": "train",
        "streams": [kind for kind in present if kind != "body_mask"],
        "content": "0" * 16,
        "kinds": present,
        "first_record": dict.fromkeys(present, 0),
        "volume_shape": (80, 64, depth),
        "volume_spacing_mm": (2.0, 2.0, 5.0),
        "depth": depth,
        "slice_indices": indices,
        "positions": np.linspace(0, 1, number).tolist(),
        "class_pixels": None,
        "intensity": None,
        "histogram": None,
        "sources": {kind: source(f"{name}/{kind}.nii.gz", depth) for kind in present},
        "warnings": (),
    }
    if label_map is not None:
        values["class_pixels"] = np.bincount(label_map.ravel(), minlength=num_classes).tolist()
    if image is not None:
        stored = (image + 1) / 2 * LARGEST_IMAGE
        counts, _ = np.histogram(stored, 128, (0, LARGEST_IMAGE))
        values["histogram"] = Histogram(lower=0, upper=LARGEST_IMAGE, counts=counts.tolist())
        values["intensity"] = [IntensityScale((0.0, LARGEST_IMAGE), (-1.0, 1.0))]
    record = SubjectRecord(**(values | changes))
    return PreparedSubject(record, Slices(label_map, image, body_mask, np.array(indices, int)))


def source(path: str, depth: int = 20, axes: str = "RAS") -> SourceRecord:
    return SourceRecord(
        path=Path(path),
        sha256="0" * 64,
        bytes=123_456,
        axes=axes,
        shape=(80, 64, depth),
        spacing_mm=(2.0, 2.0, 5.0),
    )


def prepared_data(
    folder: Path, subjects: Sequence[PreparedSubject], **changes: Any
) -> tuple[DataConfig, PreparedData]:
    """The configuration and the stand-in for the shards of some subjects."""
    first = subjects[0].slices
    shape = next(v for v in (first.label_map, first.image) if v is not None).shape[1:]
    listed = [
        {
            "subject": each.record.subject,
            "split": each.record.split,
            "streams": list(each.record.streams),
            **{kind: f"{kind}.nii.gz" for kind in each.record.kinds if kind != "body_mask"},
        }
        for each in subjects
    ]
    values = {"classes": CLASSES, "subjects": listed, "image_size": shape, **changes}
    data = DataConfig.model_validate(values)
    records = Manifest(
        classes=tuple(ClassRecord(id=e.id, name=e.name) for e in data.classes),
        axis=data.axis,
        image_size=data.image_size,
        field_of_view_mm=data.field_of_view_mm,
        files={},
        subjects=tuple(each.record for each in subjects),
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(records.model_dump_json())
    return data, PreparedData(
        folder, records, {each.record.subject: each.slices for each in subjects}
    )

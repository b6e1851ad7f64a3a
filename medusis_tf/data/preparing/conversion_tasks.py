"""The tasks of worker processes: convert, check or measure one subject each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medusis_tf.config.data import DataConfig, Subject
from medusis_tf.config.intensity import NyulIntensity
from medusis_tf.data.labels.tissue import TISSUE_VERSION
from medusis_tf.data.preparing.conversion import (
    ConvertedSubject,
    Standard,
    convert_subject,
    image_landmarks,
)
from medusis_tf.data.preparing.store import Store, Stored
from medusis_tf.data.shards.manifest import FORMAT_VERSION, FileRecord, SubjectRecord

# Settings that determine the slices of a subject, besides its files and classes.
_HASHED_SETTINGS = {
    *("order", "unlisted", "pair_by", "reading", "axis", "image_size", "field_of_view_mm"),
    *("minimum_foreground", "skip_ends", "intensity", "remove_background", "tissue"),
}
# Earlier versions matched volumes after each had been turned by its own header.
_STORED_ORDER = "voxels matched as stored"


@dataclass(frozen=True)
class ConversionTask:
    """One subject to convert.

    Attributes:
        subject: Entry of the configuration.
        data: Configuration of the data with this subject alone, as it is sent to a process.
        sources: Role to file.
        content: Hash of everything that determines the slices of the subject.
        standard: Landmarks of the training images, for `intensity: {name: nyul}`.
        folder: Folder of the store to write to.
    """

    subject: Subject
    data: DataConfig
    sources: dict[str, FileRecord]
    content: str
    standard: Standard = None
    folder: Path | None = None

    def described(self, record: SubjectRecord) -> SubjectRecord:
        """Return a record of the same content with the name, split and files of this subject."""
        sources = {
            role: old.model_copy(update={"path": self.sources[role].path})
            for role, old in record.sources.items()
        }
        update = {
            "subject": self.subject.subject,
            "patient": self.subject.patient_name,
            "split": self.subject.split,
            "streams": self.subject.used_streams,
            "sources": sources,
        }
        return record.model_copy(update=update)


def conversion_tasks(
    data: DataConfig,
    sources: Mapping[str, dict[str, FileRecord]],
    standard: Standard = None,
    folder: Path | None = None,
) -> list[ConversionTask]:
    """Return one task for each configured subject, in order."""
    settings = data.model_dump(mode="json", include=_HASHED_SETTINGS)
    classes = [
        [entry.id, entry.name, entry.sources]
        + ([entry.where.model_dump(mode="json")] if entry.where is not None else [])
        for entry in data.classes
    ]
    tasks = []
    for subject in data.subjects:
        files = sources[subject.subject]
        content = [
            *(FORMAT_VERSION, settings, classes, standard if subject.image is not None else None),
            data.label_sources.get(subject.label_source or ""),
            {role: file.sha256 for role, file in files.items()},
            *([_STORED_ORDER] if data.pair_by == "voxel" else []),
            *([{"centre": data.centre}] if data.centre != "volume" else []),
            *([{"tissue_label_map": TISSUE_VERSION}] if subject.ct is not None else []),
        ]
        alone = data.model_copy(update={"subjects": (subject,)})
        tasks.append(ConversionTask(subject, alone, files, _hash(content), standard, folder))
    return tasks


def data_set_hash(tasks: Sequence[ConversionTask]) -> str:
    """Hash of everything that a data set of these subjects contains."""
    return _hash(
        [
            [task.content, entry.subject, entry.patient_name, entry.split, entry.used_streams]
            for task in tasks
            for entry in [task.subject]
        ]
    )


def convert_in_memory(task: ConversionTask) -> ConvertedSubject:
    """Convert a subject and return its slices.

    Raises:
        UserError: A volume cannot be used.
    """
    return convert_subject(task.subject, task.data, task.sources, task.content, task.standard)


def convert_to_store(task: ConversionTask) -> Stored:
    """Convert a subject and write it to the store.

    Raises:
        UserError: A volume cannot be used.
        OSError: The disk refuses.
    """
    if task.folder is None:
        raise ValueError("the task has no folder")
    return Store(task.folder, task.data.image_size).add(convert_in_memory(task))


def check(task: ConversionTask) -> SubjectRecord:
    """Convert a subject and return only its record.

    Raises:
        UserError: A volume cannot be used.
    """
    return convert_in_memory(task).record


def measure_landmarks(task: ConversionTask) -> tuple[float, ...]:
    """Measure the landmarks of the histogram of a subject's image.

    Raises:
        UserError: The image cannot be used.
    """
    intensity = task.data.intensity
    if not isinstance(intensity, NyulIntensity):
        raise ValueError(f"{intensity.name} has no landmarks")
    return image_landmarks(task.subject, task.data, intensity)


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]

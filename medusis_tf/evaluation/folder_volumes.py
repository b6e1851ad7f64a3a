"""Volumes of a folder, one for each subject, as slices: pictures to judge, or masks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from medusis_tf.config.data import DataConfig, Split, Subject
from medusis_tf.data.preparation import slice_in_memory
from medusis_tf.data.shards import Shards
from medusis_tf.errors import UserError
from medusis_tf.evaluation.judged_subject import JudgedSubject

SUFFIXES = (".nii.gz", ".nii")


class FolderVolumes:
    """The volumes `SUBJECT.nii.gz` or `SUBJECT.nii` of a folder, sliced as the data set is.

    Args:
        folder: Where they lie, each on the grid of its subject's label map.
        kind: Whether they are images, or label maps of the experiment's class ids.
        data: The configuration of the data set.
        split: Whose volumes are wanted.

    Raises:
        UserError: A subject of the split with a label map has no file, or one cannot be used.
    """

    def __init__(
        self, folder: Path, kind: Literal["image", "label_map"], data: DataConfig, split: Split
    ):
        self._folder, self._kind = folder, kind
        wanted = [entry for entry in data.subjects_of(split) if entry.has_label_map]
        replaced = tuple(self._with_volume(entry) for entry in wanted)
        changes = {"subjects": replaced, "minimum_foreground": 0.0, "skip_ends": 0}
        self._shards: Shards = slice_in_memory(data.model_copy(update=changes))

    def slices(self, subject: JudgedSubject) -> np.ndarray:
        """The slices that a subject is judged on, `[slices, height, width]`.

        Raises:
            UserError: The volume has not all of them.
        """
        found = self._shards.read(subject.name)
        places = {index: place for place, index in enumerate(found.slice_indices.tolist())}
        missing = [index for index in subject.slice_indices.tolist() if index not in places]
        if missing:
            raise UserError(
                f"{self._path(subject.name)} lacks slices {missing[:5]} of subject {subject.name}: "
                "it must lie on the grid of the subject's label map, as `synthesize` writes it."
            )
        chosen = [places[index] for index in subject.slice_indices.tolist()]
        return getattr(found, self._kind)[chosen]

    def _with_volume(self, entry: Subject) -> Subject:
        path = self._path(entry.subject).resolve()
        if self._kind == "image":
            return entry.model_copy(update={"image": path, "streams": None})
        changes = {"label_map": path, "image": None, "ct": None, "overlays": {}}
        return entry.model_copy(update={**changes, "label_source": None, "streams": None})

    def _path(self, name: str) -> Path:
        paths = [self._folder / f"{name}{suffix}" for suffix in SUFFIXES]
        for path in paths:
            if path.is_file():
                return path
        raise UserError(
            f"{self._folder} has no volume of subject {name}. Give {paths[0].name} for every "
            "subject of the split, or another --split."
        )

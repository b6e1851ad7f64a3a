"""Read a stored appearance, and check that it is whole and belongs to the data."""

from __future__ import annotations

import logging
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pydantic
from pydantic import Field, NonNegativeFloat, NonNegativeInt, model_validator

from medusis_tf.appearance.appearance import (
    FORMAT_VERSION,
    JSON_NAME,
    NUM_QUANTILES,
    Appearance,
    ClassAppearance,
    PseudoLabels,
    pseudo_labels_file,
)
from medusis_tf.config.problems import problem_lines
from medusis_tf.config.section import FileName, Section
from medusis_tf.config.taxonomy import ClassEntry
from medusis_tf.errors import reason
from medusis_tf.json_files import read_json

logger = logging.getLogger(__name__)

# Fractions are ratios of float64, which may pass their limits in the last digits.
_Fraction = Annotated[float, Field(ge=-1e-6, le=1 + 1e-6)]
_Grey = Annotated[float, Field(ge=-1, le=1)]
_Quantiles = Annotated[
    tuple[_Grey | None, ...], Field(min_length=NUM_QUANTILES, max_length=NUM_QUANTILES)
]
# What NumPy raises for a file that was cut, is empty, or is no archive of arrays.
_DAMAGED = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error)


class _StoredClass(Section):
    id: NonNegativeInt
    name: str
    tissue: str
    found: str
    spread: NonNegativeFloat | None
    overlap: _Fraction | None
    share: _Fraction


class _Stored(Section):
    """The contents of `appearance.json`; null stands for NaN."""

    format_version: int
    features: tuple[str, ...]
    smoothing: NonNegativeFloat
    warnings: tuple[str, ...]
    classes: Annotated[tuple[_StoredClass, ...], Field(min_length=1)]
    subject_means: dict[str, dict[str, float | None]]
    subjects: tuple[FileName, ...]
    quantiles: tuple[_Quantiles, ...]
    means: tuple[_Grey | None, ...]
    deviations: tuple[Annotated[float, Field(ge=0, le=1)] | None, ...]
    correlation_px: tuple[tuple[NonNegativeFloat, NonNegativeFloat], ...]

    @model_validator(mode="after")
    def _check_shapes(self) -> _Stored:
        if self.format_version != FORMAT_VERSION:
            raise ValueError(f"it is of version {self.format_version}, not {FORMAT_VERSION}")
        if [each.id for each in self.classes] != list(range(len(self.classes))):
            raise ValueError("the ids of the classes are not 0, 1, 2, ... in order")
        for name in ("quantiles", "means", "deviations", "correlation_px"):
            if (found := len(getattr(self, name))) != len(self.classes):
                raise ValueError(f"{name} has {found} rows for {len(self.classes)} classes")
        unknown = np.isnan(_array(self.quantiles))
        for name in ("means", "deviations"):
            if (unknown != np.isnan(_array(getattr(self, name)))[:, np.newaxis]).any():
                raise ValueError(f"quantiles and {name} are not of the same classes")
        if (np.diff(_array(self.quantiles), axis=1) < 0).any():
            raise ValueError("quantiles of a class do not increase")
        if len({tuple(means) for means in self.subject_means.values()}) > 1:
            raise ValueError("subject_means has not all subjects for each tissue")
        return self


def load_appearance(
    folder: Path,
    classes: Sequence[ClassEntry] | None = None,
    shapes: Mapping[str, tuple[int, int, int]] | None = None,
) -> Appearance | None:
    """Read the files of `Appearance.save`.

    Pseudo-labels are checked here, and read again when they are used.

    Args:
        folder: Folder of the files.
        classes: Class table that they must have; None for any.
        shapes: Subjects with pseudo-labels that they must have, in order, with
            `[slices, height, width]`; None for any.

    Returns:
        None if they are missing, damaged, of another version, or do not fit the data; a warning
        of the log says why.
    """
    if not (folder / JSON_NAME).exists():
        return None
    try:
        stored = _Stored.model_validate(read_json(folder / JSON_NAME))
        _check_data(stored, classes, shapes)
        for name in stored.subjects:
            shape = None if shapes is None else shapes[name]
            _check_pseudo_labels(pseudo_labels_file(folder, name), len(stored.classes), shape)
    except pydantic.ValidationError as error:
        why = problem_lines(error)[0]
    except (OSError, ValueError) as error:
        why = reason(error)
    else:
        return _opened(folder, stored)
    logger.warning("the appearance in %s is damaged or of other data: %s", folder, why)
    return None


def _check_data(
    stored: _Stored,
    classes: Sequence[ClassEntry] | None,
    shapes: Mapping[str, tuple[int, int, int]] | None,
) -> None:
    if classes is not None:
        for found, wanted in zip(stored.classes, classes, strict=False):
            if found.name != wanted.name:
                raise ValueError(f"class {wanted.id} is {found.name}, not {wanted.name}")
        if len(stored.classes) != len(classes):
            raise ValueError(f"it has {len(stored.classes)} classes, not {len(classes)}")
    if shapes is not None and list(stored.subjects) != list(shapes):
        raise ValueError("its subjects are not the training subjects with an image")
    unknown = {each for means in stored.subject_means.values() for each in means}
    if unknown := unknown.difference(stored.subjects):
        raise ValueError(f"subject_means has the unknown subject {min(unknown)}")


def _check_pseudo_labels(path: Path, num_classes: int, shape: tuple[int, int, int] | None) -> None:
    try:
        found = _read_pseudo_labels(path)
        arrays = {"labels": found.labels, "certainty": found.levels}
        for name, array in arrays.items():
            if array.dtype != np.uint8 or array.ndim != 3:
                raise ValueError(f"{name} must be [slices, height, width] of uint8")
            if array.shape != (found.labels.shape if shape is None else shape):
                raise ValueError(f"{name} has the shape {array.shape} of other slices")
        if found.labels.max(initial=0) >= num_classes:
            raise ValueError(f"label {found.labels.max()} is no class")
    except _DAMAGED as error:
        raise ValueError(f"{path.name}: {reason(error)}") from None


def _opened(folder: Path, stored: _Stored) -> Appearance:
    described: list[dict[str, Any]] = [
        {key: np.nan if value is None else value for key, value in each} for each in stored.classes
    ]
    return Appearance(
        classes=tuple(ClassAppearance(**each) for each in described),
        quantiles=_array(stored.quantiles),
        means=_array(stored.means),
        deviations=_array(stored.deviations),
        correlation_px=_array(stored.correlation_px),
        subject_means={
            tissue: {name: np.nan if mean is None else mean for name, mean in means.items()}
            for tissue, means in stored.subject_means.items()
        },
        features=stored.features,
        smoothing=stored.smoothing,
        warnings=stored.warnings,
        pseudo_labels=_StoredPseudoLabels(folder, stored.subjects),
    )


class _StoredPseudoLabels(Mapping[str, PseudoLabels]):
    """Pseudo-labels in files."""

    def __init__(self, folder: Path, subjects: Sequence[str]):
        self._folder, self._subjects = folder, subjects

    def __getitem__(self, name: str) -> PseudoLabels:
        if name not in self._subjects:
            raise KeyError(name)
        return _read_pseudo_labels(pseudo_labels_file(self._folder, name))

    def __iter__(self) -> Iterator[str]:
        return iter(self._subjects)

    def __len__(self) -> int:
        return len(self._subjects)


def _read_pseudo_labels(path: Path) -> PseudoLabels:
    # NumPy leaves a file that is no archive open, unless it is opened here.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return PseudoLabels(arrays["labels"], arrays["certainty"])


def _array(values: Sequence[object]) -> np.ndarray:
    return np.array(values, np.float32)  # None becomes NaN

"""What the classes look like in the images: grey levels, and pseudo-labels of the images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from medusis_tf.files import replacing

NUM_QUANTILES = 32
FORMAT_VERSION = 1
JSON_NAME = "appearance.json"
_CERTAINTY_LEVELS = 255


@dataclass(frozen=True)
class ClassAppearance:
    """How the appearance of a class was found.

    Attributes:
        id: Class id.
        name: Class name.
        tissue: Tissue that it was estimated as.
        found: One sentence: how.
        spread: Standard error of the mean, from leaving out one patient with label map after the
            other; NaN if there is none.
        overlap: Fraction of the tissue that other tissues explain as well; NaN if there is none.
        share: Fraction of the foreground of the training label maps.
    """

    id: int
    name: str
    tissue: str
    found: str
    spread: float
    overlap: float
    share: float


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """Classes found in an image.

    Attributes:
        labels: `[slices, height, width]` uint8 class ids.
        levels: Same shape, uint8: 255 is certain.
    """

    labels: np.ndarray
    levels: np.ndarray

    @property
    def certainty(self) -> np.ndarray:
        """`[slices, height, width]` float32 in [0, 1], probability of the label."""
        return self.levels.astype(np.float32) / np.float32(_CERTAINTY_LEVELS)

    @classmethod
    def of(cls, labels: np.ndarray, certainty: np.ndarray) -> PseudoLabels:
        """Labels and probabilities in [0, 1] of the same shape."""
        levels = np.rint(np.clip(certainty, 0, 1) * _CERTAINTY_LEVELS)
        return cls(labels.astype(np.uint8), levels.astype(np.uint8))


@dataclass(frozen=True, eq=False)
class Appearance:
    """Grey levels of all classes, on the scale from -1 to 1.

    Attributes:
        classes: How each class was found, by id.
        quantiles: `[num_classes, 32]` float32, quantile `(k + 1/2) / 32` of the pixels of a class;
            NaN for a class without.
        means: `[num_classes]` float32; NaN as above.
        deviations: `[num_classes]` float32, standard deviations; NaN as above.
        correlation_px: `[num_classes]` float32, correlation length of the texture in pixels.
        subject_means: Mean of each tissue by subject, `{tissue: {subject: grey}}`.
        features: What the prior distinguishes: depth, angle, axial position.
        smoothing: Strength of the coupling of neighbouring pixels in the pseudo-labels.
        warnings: What the user should know, such as classes that cannot be distinguished.
        pseudo_labels: By name of the training subject with an image.
    """

    classes: tuple[ClassAppearance, ...]
    quantiles: np.ndarray
    means: np.ndarray
    deviations: np.ndarray
    correlation_px: np.ndarray
    subject_means: Mapping[str, Mapping[str, float]]
    features: tuple[str, ...]
    smoothing: float
    warnings: tuple[str, ...]
    pseudo_labels: Mapping[str, PseudoLabels]

    def save(self, folder: Path) -> None:
        """Write `appearance.json`, `quantiles.npz` and `pseudo_labels/SUBJECT.npz`.

        `appearance.json` is written last: a folder with it is complete.

        Args:
            folder: Existing folder.

        Raises:
            OSError: The disk refuses.
        """
        (folder / "pseudo_labels").mkdir(exist_ok=True)
        for name, found in self.pseudo_labels.items():
            arrays = {"labels": found.labels, "certainty": found.levels}
            _write_arrays(pseudo_labels_file(folder, name), arrays)
        with replacing(folder / JSON_NAME) as temporary:
            temporary.write_text(json.dumps(self.description(), indent=1), encoding="utf-8")

    def description(self) -> dict[str, object]:
        """Everything but the pseudo-labels, ready for JSON; null stands for NaN."""
        arrays = {
            name: getattr(self, name).astype(float).tolist()
            for name in ("quantiles", "means", "deviations", "correlation_px")
        }
        described = {
            "format_version": FORMAT_VERSION,
            "features": list(self.features),
            "smoothing": self.smoothing,
            "warnings": list(self.warnings),
            "classes": [asdict(each) for each in self.classes],
            "subject_means": self.subject_means,
            "subjects": list(self.pseudo_labels),
            **arrays,
        }
        plain = _without_nan(described)
        if not isinstance(plain, dict):
            raise TypeError("a description is a dictionary")
        return plain


def pseudo_labels_file(folder: Path, name: str) -> Path:
    """File of the pseudo-labels of a subject in a folder of `Appearance.save`."""
    return folder / "pseudo_labels" / f"{name}.npz"


def _write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    with replacing(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)


def _without_nan(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and np.isnan(value) else value

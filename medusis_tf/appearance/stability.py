"""How far an estimate can be trusted: without one patient, and against the other tissues."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from medusis_tf.appearance.atlas import Atlas
from medusis_tf.appearance.mixture import Mixture, Pixels
from medusis_tf.appearance.samples import ImageSample, LabelSample
from medusis_tf.appearance.tissues import Group

# Folds of the test, and pixels of each image that a fold reads.
MAX_FOLDS = 8
_FOLD_PIXELS = 6000


def by_patient(labels: Sequence[LabelSample]) -> list[list[np.ndarray]]:
    """Counts of each patient, summed over the subjects of the patient."""
    patients: dict[str, list[np.ndarray]] = {}
    for sample in labels:
        before = patients.get(sample.record.patient)
        own = sample.counts
        patients[sample.record.patient] = (
            own if before is None else [a + b for a, b in zip(before, own, strict=True)]
        )
    return list(patients.values())


def by_group(counts: list[list[np.ndarray]], groups: Sequence[Group]) -> list[list[np.ndarray]]:
    """Counts of groups instead of classes."""
    return [[group_columns(level, groups) for level in patient] for patient in counts]


def group_columns(table: np.ndarray, groups: Sequence[Group]) -> np.ndarray:
    """Sum the columns of classes `[..., K]` to columns of groups `[..., groups]`."""
    return np.stack([table[..., list(group.classes)].sum(axis=-1) for group in groups], axis=-1)


def pixels_of(atlas: Atlas, image: ImageSample) -> Pixels:
    """Pixels of an image with their prior."""
    return Pixels(image.grey, atlas.probabilities(image.cells), image.places)


def fewer(image: ImageSample) -> ImageSample:
    """Every few pixels of an image, for the test of stability."""
    step = max(1, len(image.grey) // _FOLD_PIXELS)
    return ImageSample(
        image.record,
        image.grey[::step],
        image.cells[:, ::step],
        image.places[::step],
        image.air,
        image.body_mm2,
    )


def jackknife(
    counts: list[list[np.ndarray]],
    estimate: Callable[[list[list[np.ndarray]]], np.ndarray],
    size: int,
) -> np.ndarray:
    """Standard errors over patients with label maps, `[size]`; NaN for a single patient.

    Args:
        counts: Counts of all patients.
        estimate: Function of the counts of some patients to `[size]` values.
        size: Number of values.
    """
    folds = min(len(counts), MAX_FOLDS)
    if folds < 2:
        return np.full(size, np.nan)
    found = np.array(
        [
            estimate([each for place, each in enumerate(counts) if place % folds != fold])
            for fold in range(folds)
        ]
    )
    return np.sqrt((folds - 1) / folds * ((found - found.mean(axis=0)) ** 2).sum(axis=0))


def overlap_of(
    mixture: Mixture, atlas: Atlas, images: Sequence[ImageSample], count: int
) -> np.ndarray:
    """`[groups, groups]`: fraction of the row's tissue that the column's explains as well."""
    joint = np.zeros((count, count))
    for index, image in enumerate(images):
        posterior = mixture.posterior(index, pixels_of(atlas, image))
        joint += posterior.T @ posterior
    return joint / np.maximum(joint.sum(axis=1, keepdims=True), 1e-9)

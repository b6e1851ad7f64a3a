"""Judge methods of painting label maps on subjects whose true images are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from medusis_tf.metrics.class_means import learn_class_means, paint_class_means
from medusis_tf.metrics.similarity import (
    Similarity,
    mean_similarity,
    similarity,
    to_unit_range,
)


@dataclass(frozen=True)
class PairedSubject:
    """A subject with aligned slices of both kinds.

    Attributes:
        name: As in the configuration.
        label_map: `[slices, height, width]` class ids.
        image: `[slices, height, width]` in [-1, 1].
        slice_indices: `[slices]`, places of the slices in their volume.
    """

    name: str
    label_map: np.ndarray
    image: np.ndarray
    slice_indices: np.ndarray


@dataclass(frozen=True)
class Agreement:
    """Agreement with the true image, on the whole slice and inside the body (class 1 and up)."""

    whole: Similarity
    body: Similarity


@dataclass(frozen=True)
class MethodResult:
    """How a method did: for each subject, and the mean over subjects."""

    subjects: Mapping[str, Agreement]
    mean: Agreement


Method = Callable[[PairedSubject], np.ndarray]


def judge(method: Method, subjects: Iterable[PairedSubject]) -> MethodResult:
    """Measure a method: the mean over slices for each subject, then over subjects.

    Args:
        method: Paints a subject's slices from its label map, `[slices, height, width]` in [-1, 1].
        subjects: At least one.
    """
    by_subject = {
        subject.name: agreement(method(subject), subject.image, subject.label_map)
        for subject in subjects
    }
    return MethodResult(by_subject, _mean(list(by_subject.values())))


def agreement(images: np.ndarray, true_images: np.ndarray, label_map: np.ndarray) -> Agreement:
    """Mean agreement over the slices of one subject.

    Args:
        images: `[slices, height, width]` in [-1, 1]; compared as [0, 1], clipped.
        true_images: Same shape and range.
        label_map: `[slices, height, width]`; the body is where it is not 0. Slices without body
            are left out of the mean inside the body.
    """
    slices = [
        Agreement(similarity(image, true_image), similarity(image, true_image, body))
        for image, true_image, body in zip(
            to_unit_range(images), to_unit_range(true_images), label_map != 0, strict=True
        )
    ]
    return _mean(slices)


def class_mean_method(pairs: Iterable[PairedSubject], num_classes: int) -> Method:
    """The floor: every class painted with its mean intensity in the given subjects.

    Args:
        pairs: Training subjects whose two volumes are aligned.
        num_classes: K, background included.
    """
    means = learn_class_means(((pair.label_map, pair.image) for pair in pairs), num_classes)
    return lambda subject: paint_class_means(subject.label_map, means)


def class_mean_oracle(num_classes: int) -> Method:
    """The same with the means of the test subject itself, which no real use could know."""
    return lambda subject: class_mean_method([subject], num_classes)(subject)


def _mean(parts: list[Agreement]) -> Agreement:
    return Agreement(
        mean_similarity(part.whole for part in parts), mean_similarity(part.body for part in parts)
    )

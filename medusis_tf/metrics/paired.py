"""Judge methods of painting label maps on subjects whose true images are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from medusis_tf.metrics.class_means import learn_class_means, paint_class_means
from medusis_tf.metrics.grey_levels import GreyLevels
from medusis_tf.metrics.outline import OutlineAgreement, mean_outline, outline_agreement
from medusis_tf.metrics.segmentation_agreement import ReadClasses, class_dice, mean_class_dice
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
    """Agreement of pictures with the true images and with the label maps they were painted from.

    Attributes:
        whole: With the true images, on whole slices.
        body: The same inside the body (class 1 and up).
        outline: Of the body, with the label maps.
        class_dice: Of the classes that an independent segmenter reads in the pictures, with the
            label maps; empty without a segmenter.
    """

    whole: Similarity
    body: Similarity
    outline: OutlineAgreement
    class_dice: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class MethodResult:
    """How a method did: for each subject, and the mean over subjects."""

    subjects: Mapping[str, Agreement]
    mean: Agreement


@dataclass(frozen=True)
class Rules:
    """What shapes are judged by.

    Attributes:
        levels: Which greys are air, and which tissue.
        class_names: Of ids 0, 1, and so on.
        read_classes: An independent segmenter: class ids of `[slices, height, width]` pictures;
            None to judge the outline only.
    """

    levels: GreyLevels
    class_names: Sequence[str] = ()
    read_classes: ReadClasses | None = None


Method = Callable[[PairedSubject], np.ndarray]


def judge(method: Method, subjects: Iterable[PairedSubject], rules: Rules) -> MethodResult:
    """Measure a method: the mean over slices for each subject, then over subjects.

    Args:
        method: Paints a subject's slices from its label map, `[slices, height, width]` in [-1, 1].
        subjects: At least one.
        rules: What shapes are judged by.
    """
    by_subject = {
        subject.name: agreement(method(subject), subject.image, subject.label_map, rules)
        for subject in subjects
    }
    parts = list(by_subject.values())
    mean = Agreement(
        mean_similarity(part.whole for part in parts),
        mean_similarity(part.body for part in parts),
        mean_outline(part.outline for part in parts),
        mean_class_dice(part.class_dice for part in parts),
    )
    return MethodResult(by_subject, mean)


def agreement(
    images: np.ndarray, true_images: np.ndarray, label_map: np.ndarray, rules: Rules
) -> Agreement:
    """Mean agreement over the slices of one subject.

    Args:
        images: `[slices, height, width]` in [-1, 1]; compared as [0, 1], clipped.
        true_images: Same shape and range.
        label_map: `[slices, height, width]`; the body is where it is not 0. Slices without body
            are left out of the mean inside the body.
        rules: What shapes are judged by.
    """
    pairs = list(zip(to_unit_range(images), to_unit_range(true_images), strict=True))
    whole = [similarity(*pair) for pair in pairs]
    body = [similarity(*pair, mask) for pair, mask in zip(pairs, label_map != 0, strict=True)]
    read = {}
    if rules.read_classes is not None:
        read = class_dice(rules.read_classes(images), label_map, rules.class_names)
    return Agreement(
        mean_similarity(whole),
        mean_similarity(body),
        outline_agreement(images, label_map, rules.levels),
        read,
    )


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

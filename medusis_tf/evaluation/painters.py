"""Ways of painting label maps: the model, what a perfect one would get, and what needs none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from medusis_tf.data.labels.body import image_body
from medusis_tf.data.shards.labelled_subjects import LabelledSubject, LabelledSubjects
from medusis_tf.metrics.baselines import (
    NearestSlice,
    learn_class_means,
    paint_class_means,
    paint_gaussian_mixture,
)

if TYPE_CHECKING:
    from medusis_tf.data.shards.shards import Shards
    from medusis_tf.serving.predictor import SlicePainter

TRUE_IMAGE = "true image (what a perfect picture would get)"
TRAINING_MEANS = "class means (training pairs)"
ORACLE_MEANS = "class means (this subject; oracle)"
GAUSSIAN_MIXTURE = "random Gaussian mixture"
NEAREST_SLICE = "nearest real slice (by outline)"

Paint = Callable[[LabelledSubject, int], np.ndarray]


@dataclass(frozen=True)
class Method:
    """A way of painting.

    Attributes:
        name: In tables.
        kind: The `model` that is judged, a `reference` that knows the true image, or a `baseline`
            that a model has to beat.
        paint: `[slices, height, width]` in [-1, 1] of a subject, with the noise of a seed.
        needs_image: Whether it can paint subjects with a true image only.
        is_random: Whether pictures depend on the seed.
    """

    name: str
    kind: Literal["model", "reference", "baseline"]
    paint: Paint
    needs_image: bool = False
    is_random: bool = False


def model_method(painter: SlicePainter, title: str, batch_size: int | None = None) -> Method:
    """A model, which paints every subject with the noise vector of the seed."""
    noise = lru_cache(painter.draw_noise)
    return Method(
        title,
        "model",
        lambda subject, seed: painter.paint(subject.label_map, noise(seed), batch_size),
        is_random=painter.metadata.has_noise,
    )


def other_methods(shards: Shards, training: LabelledSubjects, num_classes: int) -> list[Method]:
    """The true image, the class means, the random Gaussian mixture and the nearest real slice.

    Args:
        shards: Prepared slices.
        training: The training subjects with label maps.
        num_classes: K, background included.
    """
    methods = [Method(TRUE_IMAGE, "reference", _true_image, needs_image=True)]
    if training.has_pairs:
        means = learn_class_means(_pairs(training), num_classes)
        methods.append(
            Method(
                TRAINING_MEANS,
                "baseline",
                lambda subject, _: paint_class_means(subject.label_map, means),
            )
        )
    return [
        *methods,
        Method(
            ORACLE_MEANS,
            "reference",
            lambda subject, _: _own_class_means(subject, num_classes),
            needs_image=True,
        ),
        Method(
            GAUSSIAN_MIXTURE,
            "baseline",
            lambda subject, seed: paint_gaussian_mixture(subject.label_map, num_classes, seed),
            is_random=True,
        ),
        Method(NEAREST_SLICE, "baseline", _nearest_slice(shards)),
    ]


def _true_image(subject: LabelledSubject, _: int) -> np.ndarray:
    if subject.image is None:
        raise ValueError(f"subject {subject.name} has no true image")
    return subject.image


def _own_class_means(subject: LabelledSubject, num_classes: int) -> np.ndarray:
    pair = (subject.label_map, _true_image(subject, 0))
    return paint_class_means(subject.label_map, learn_class_means([pair], num_classes))


def _pairs(training: LabelledSubjects):
    for subject in training:
        if subject.image is not None:
            yield subject.label_map, subject.image


def _nearest_slice(shards: Shards) -> Paint:
    image = lru_cache(maxsize=4)(shards.read_image)
    entries = shards.subjects("train", "image")
    nearest = NearestSlice((entry.subject, image_body(image(entry.subject))) for entry in entries)

    def paint(subject: LabelledSubject, _: int) -> np.ndarray:
        return np.stack([image(name)[place] for name, place in nearest.find(subject.body)])

    return paint

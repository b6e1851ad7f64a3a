"""Painters of label maps: the evaluated model, references and baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from medusis_tf.appearance.painting import known_means, paint_class_quantiles
from medusis_tf.data.labels.body import image_body
from medusis_tf.data.shards.labelled_subjects import LabelledSubject, LabelledSubjects
from medusis_tf.metrics.baselines import (
    NearestSlice,
    learn_class_means,
    paint_class_means,
    paint_gaussian_mixture,
)

if TYPE_CHECKING:
    from medusis_tf.appearance.appearance import Appearance
    from medusis_tf.data.shards.shards import Shards
    from medusis_tf.serving.predictor import SlicePainter

# Values of `name` in metrics.json, by which studies find them.
TRUE_IMAGE = "true image (score of a perfect image)"
TRAINING_MEANS = "class means (training pairs)"
ORACLE_MEANS = "class means (this subject; oracle)"
UNPAIRED_MEANS = "class means (unpaired appearance)"
UNPAIRED_TEXTURE = "class quantiles with texture (unpaired appearance)"
GAUSSIAN_MIXTURE = "random Gaussian mixture"
NEAREST_SLICE = "nearest real slice (by outline)"

Paint = Callable[[LabelledSubject, int], np.ndarray]

_SIMILARITY = frozenset({"similarity", "similarity/volume"})


@dataclass(frozen=True)
class Painter:
    """A way of painting label maps.

    Attributes:
        name: Name in tables and in `metrics.json`.
        kind: The evaluated `model`, a `mean_image` of it (of several noises, or without noise), a
            `reference` that knows the real image, or a `baseline` that a model must beat.
        paint_slices: Function of a subject and a noise seed that returns images
            `[slices, height, width]` in [-1, 1].
        needs_image: Whether it can only paint subjects with a real image.
        is_random: Whether the images depend on the seed.
        only: Metrics to measure, by their key in `metrics.json`; empty for all.
        without_noise: Function like `paint_slices` that paints with a noise of zeros; None if there
            is none.
    """

    name: str
    kind: Literal["model", "mean_image", "reference", "baseline"]
    paint_slices: Paint
    needs_image: bool = False
    is_random: bool = False
    only: frozenset[str] = frozenset()
    without_noise: Paint | None = None

    def paint(self, subject: LabelledSubject, seed: int) -> np.ndarray:
        """Paint a subject. Outside the field of view of its volume, every painter paints air."""
        return subject.with_air_outside(self.paint_slices(subject, seed))


def mean_painters(painter: Painter, count: int, seed: int) -> Iterator[Painter]:
    """Yield the mean image of a model over several noises and its image without noise.

    Nothing is yielded for a model without noise or a `count` of 0.
    """
    if count and painter.is_random:
        yield mean_painter(painter, count, seed)
        if painter.without_noise is not None:
            name = f"{painter.name}: image without noise"
            paint = painter.without_noise
            yield Painter(name, "mean_image", paint, needs_image=True, only=_SIMILARITY)


def mean_painter(painter: Painter, count: int, seed: int) -> Painter:
    """The mean image of a model over several noises, of which only the similarity is measured.

    Samples differ from the true image by their own random part too: a perfect sampler has twice the
    squared error of the mean image, 3 dB. The mean of `count` noises has 1 + 1 / count times the
    least squared error: 0.26 dB for 16, 0.5 dB for 8, 1 dB for 4.

    Args:
        painter: The model.
        count: Number of noises.
        seed: Seed of the first noise; the others take the following seeds.
    """

    def paint(subject: LabelledSubject, _: int) -> np.ndarray:
        total = np.zeros(subject.label_map.shape, np.float32)
        for number in range(count):
            total += painter.paint(subject, seed + number)
        return total / np.float32(count)

    name = f"{painter.name}: mean image of {count} noises"
    return Painter(name, "mean_image", paint, needs_image=True, only=_SIMILARITY)


def model_painter(model: SlicePainter, batch_size: int | None = None) -> Painter:
    """A model, which paints every subject with the same noise vector for one seed.

    Args:
        model: Model.
        batch_size: Slices painted at once; see `SlicePainter.paint`.
    """
    noise = lru_cache(model.draw_noise)
    zeros = np.zeros(model.metadata.noise_shape, np.float32)
    has_noise = model.metadata.has_noise

    def paint(subject: LabelledSubject, drawn: np.ndarray) -> np.ndarray:
        # Networks of volumes need the neighbours of the slices.
        whole = subject.whole if model.metadata.volumes else None
        chosen = whole or subject
        images = model.paint(
            chosen.label_map,
            drawn,
            batch_size,
            field_of_view=chosen.field_of_view,
            slice_indices=chosen.slice_indices,
        )
        return images if whole is None else images[subject.places]

    return Painter(
        model.metadata.title,
        "model",
        lambda subject, seed: paint(subject, noise(seed)),
        is_random=has_noise,
        without_noise=(lambda subject, _: paint(subject, zeros)) if has_noise else None,
    )


def other_painters(
    shards: Shards,
    training: LabelledSubjects,
    num_classes: int,
    appearance: Appearance | None = None,
) -> Iterator[Painter]:
    """References and baselines: real image, class means, Gaussian mixture, nearest real slice.

    Args:
        shards: Prepared slices.
        training: Training subjects with label maps.
        num_classes: K, background included.
        appearance: Grey levels of the classes from unpaired data, for two more baselines.
    """
    yield Painter(TRUE_IMAGE, "reference", _true_image, needs_image=True)
    if training.has_pairs:
        means = learn_class_means(_pairs(training), num_classes)
        yield Painter(
            TRAINING_MEANS,
            "baseline",
            lambda subject, _: paint_class_means(subject.label_map, means),
        )
    yield Painter(
        ORACLE_MEANS,
        "reference",
        lambda subject, _: _own_class_means(subject, num_classes),
        needs_image=True,
    )
    if appearance is not None:
        yield from _unpaired_painters(appearance)
    yield Painter(
        GAUSSIAN_MIXTURE,
        "baseline",
        lambda subject, seed: paint_gaussian_mixture(subject.label_map, num_classes, seed),
        is_random=True,
    )
    yield Painter(NEAREST_SLICE, "baseline", _nearest_slice(shards))


def _unpaired_painters(appearance: Appearance) -> Iterator[Painter]:
    means = known_means(appearance)
    yield Painter(
        UNPAIRED_MEANS, "baseline", lambda subject, _: paint_class_means(subject.label_map, means)
    )
    yield Painter(
        UNPAIRED_TEXTURE,
        "baseline",
        lambda subject, seed: paint_class_quantiles(subject.label_map, appearance, seed),
        is_random=True,
    )


def _true_image(subject: LabelledSubject, _: int) -> np.ndarray:
    if subject.image is None:
        raise ValueError(f"subject {subject.name} has no real image")
    return subject.image


def _own_class_means(subject: LabelledSubject, num_classes: int) -> np.ndarray:
    pair = (subject.label_map, _true_image(subject, 0))
    return paint_class_means(subject.label_map, learn_class_means([pair], num_classes))


def _pairs(training: LabelledSubjects) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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

"""Audit of a model: whether its images repeat training images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from medusis_tf.config.data import Split
from medusis_tf.data.shards.labelled_subjects import LabelledSubjects
from medusis_tf.data.shards.spread import step_within
from medusis_tf.evaluation.painters import Painter
from medusis_tf.metrics.memorization import (
    SIGNIFICANT,
    Audit,
    Neighbour,
    audit,
    find_neighbours,
    least_p_value,
    mann_whitney,
    thumbnails,
)
from medusis_tf.metrics.similarity import ssim, to_unit_range
from medusis_tf.metrics.structural_similarity import SMALLEST_SIDE, ms_ssim

if TYPE_CHECKING:
    from medusis_tf.data.shards.manifest import SubjectRecord
    from medusis_tf.data.shards.shards import Shards

MAX_SLICES = 250
NUM_NEAREST = 10

Slices = dict[tuple[str, int], np.ndarray]


@dataclass(frozen=True, eq=False)
class NearestPair:
    """A synthetic slice and its nearest training slice.

    Attributes:
        synthetic: `[height, width]` in [-1, 1].
        training: Same shape and range.
        title: Subjects of the two slices.
        distance: Distance of their thumbnails.
        similarity: MS-SSIM of the two, or SSIM if the slices are too small for it.
    """

    synthetic: np.ndarray
    training: np.ndarray
    title: str
    distance: float
    similarity: float


@dataclass(frozen=True, eq=False)
class ModelAudit:
    """The audit of a model.

    Attributes:
        found: Nearest neighbours and the tests of their distances.
        similarity_name: `MS-SSIM` or `SSIM`.
        similarities: Similarity of each synthetic and of each held-out slice to its nearest
            training slice.
        similarity_p_value: One-sided Mann-Whitney U test that the synthetic ones are greater.
        pairs: Nearest pairs, the nearest first.
    """

    found: Audit
    similarity_name: str
    similarities: tuple[np.ndarray, np.ndarray]
    similarity_p_value: float
    pairs: Sequence[NearestPair]


def audit_model(
    painter: Painter, subjects: LabelledSubjects, shards: Shards, split: Split, seed: int
) -> ModelAudit | None:
    """Compare a model's images, and held-out real images, with all training images.

    Args:
        painter: Model.
        subjects: Subjects to paint.
        shards: Prepared slices.
        split: Split of the held-out real images.
        seed: Noise seed.

    Returns:
        None if the split has no real images, or is the training split.
    """
    records = [r for r in shards.records.subjects if r.split == split and "image" in r.kinds]
    if split == "train" or not any(record.num_slices for record in records):
        return None
    painted = ((subject.name, painter.paint(subject, seed)) for subject in subjects)
    synthetic = evenly(painted, sum(r.num_slices for r in subjects.records))
    real = ((record.subject, shards.read_image(record)) for record in records)
    held_out = evenly(real, sum(record.num_slices for record in records))
    slices = [*synthetic.values(), *held_out.values()]
    training = [entry.subject for entry in shards.subjects("train", "image")]
    neighbours = find_neighbours(
        thumbnails(np.stack(slices)),
        ((name, thumbnails(shards.read_image(name))) for name in training),
    )
    count = len(synthetic)
    patients = _patients(synthetic, held_out, [*subjects.records, *records])
    found = audit(neighbours[:count], neighbours[count:], patients)
    name, values, nearest = _similarities(slices, neighbours, shards)
    own, others = values[:count], values[count:]
    pairs = _pairs(synthetic, found, own, nearest)
    return ModelAudit(found, name, (own, others), mann_whitney(others, own), pairs)


def evenly(parts: Iterable[tuple[str, np.ndarray]], total: int) -> Slices:
    """Choose every n-th slice of all, at most `MAX_SLICES`.

    Args:
        parts: Name and `[slices, height, width]` of each subject.
        total: Number of slices of all subjects.

    Returns:
        Subject and index to slice.
    """
    step = step_within(MAX_SLICES, total)
    chosen: Slices = {}
    start = 0
    for name, slices in parts:
        for place in range(-start % step, len(slices), step):
            chosen[name, place] = slices[place].astype(np.float16)
        start += len(slices)
    return chosen


def describe_audit(audited: ModelAudit) -> dict[str, Any]:
    """The results of an audit, for `metrics.json`."""
    found = audited.found
    sides = {"synthetic": found.synthetic, "held_out": found.held_out}
    return {
        "features": "thumbnails of 32x32, mean 0 and length 1",
        **{f"{name}_slices": len(part) for name, part in sides.items()},
        **{
            f"{name}_median_{metric}": float(np.median([getattr(each, metric) for each in part]))
            for name, part in sides.items()
            for metric in ("distance", "ratio")
        },
        "tested": dict(zip(sides, found.samples, strict=True)),
        "distance_p_value": found.distance_p_value,
        "ratio_p_value": found.ratio_p_value,
        "similarity": audited.similarity_name,
        **{
            f"{name}_median_similarity": float(np.median(values))
            for name, values in zip(sides, audited.similarities, strict=True)
        },
        "similarity_p_value": audited.similarity_p_value,
        "near_copies": found.near_copies,
        "flagged": is_flagged(audited),
    }


def is_flagged(audited: ModelAudit) -> bool:
    """Whether the images are nearer to training images than other patients' real images are.

    Tested by the ratio to the next training subject, which is not small for images that are merely
    smooth; by the distance if there is only one training subject.
    """
    found = audited.found
    p_value = found.distance_p_value if np.isnan(found.ratio_p_value) else found.ratio_p_value
    return bool(p_value < SIGNIFICANT)


def _patients(
    synthetic: Slices, held_out: Slices, records: Sequence[SubjectRecord]
) -> tuple[list[str], list[str]] | None:
    """Patient of each slice; None with too few patients for a test to be significant."""
    owners = {record.subject: record.patient for record in records}
    found = [owners[name] for name, _ in synthetic], [owners[name] for name, _ in held_out]
    return found if least_p_value(*(len(set(part)) for part in found)) < SIGNIFICANT else None


def _similarities(
    slices: Sequence[np.ndarray], neighbours: Sequence[Neighbour], shards: Shards
) -> tuple[str, np.ndarray, list[np.ndarray]]:
    """Name of the similarity, its value for each slice and its neighbour, and the neighbours."""
    found, nearest = np.empty(len(slices)), [slices[0]] * len(slices)
    is_large = min(slices[0].shape) >= SMALLEST_SIDE
    similarity = ms_ssim if is_large else ssim
    # One training subject at a time.
    for name in sorted({each.subject for each in neighbours}):
        training = shards.read_image(name)
        for number, each in enumerate(neighbours):
            if each.subject == name:
                image = to_unit_range(slices[number].astype(np.float32))
                nearest[number] = training[each.place].astype(np.float16)
                found[number] = similarity(image, to_unit_range(training[each.place]))
    return ("MS-SSIM" if is_large else "SSIM"), found, nearest


def _pairs(
    synthetic: Slices, found: Audit, similarities: np.ndarray, nearest: Sequence[np.ndarray]
) -> list[NearestPair]:
    order = np.argsort(
        [
            each.ratio if np.isfinite(each.next_distance) else each.distance
            for each in found.synthetic
        ]
    )[:NUM_NEAREST]
    names, images = list(synthetic), list(synthetic.values())
    return [
        NearestPair(
            images[i],
            nearest[i],
            f"{names[i][0]} / {found.synthetic[i].subject}",
            found.synthetic[i].distance,
            float(similarities[i]),
        )
        for i in order.tolist()
    ]

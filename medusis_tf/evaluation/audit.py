"""Does the model repeat training images? Its pictures and held-out images against all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from medusis_tf.config.data import Split
from medusis_tf.data.shards.labelled_subjects import LabelledSubjects
from medusis_tf.evaluation.painters import Method
from medusis_tf.metrics.memorization import (
    SIGNIFICANT,
    Audit,
    Neighbour,
    audit,
    find_neighbours,
    least_p_value,
    thumbnails,
)
from medusis_tf.metrics.similarity import (
    SMALLEST_SIDE,
    Comparison,
    multiscale_similarity,
    to_unit_range,
)

if TYPE_CHECKING:
    from medusis_tf.data.shards.manifest import SubjectRecord
    from medusis_tf.data.shards.shards import Shards

MAX_SLICES = 250
NUM_NEAREST = 10

Slices = dict[tuple[str, int], np.ndarray]


@dataclass(frozen=True, eq=False)
class NearestPair:
    """A synthetic slice and the training slice it is nearest to.

    Attributes:
        synthetic: `[height, width]` in [-1, 1].
        training: The same.
        title: Whose slices they are.
        distance: Of the two.
        similarity: MS-SSIM of the two, or SSIM where slices are too small for that.
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
        similarities: Of each synthetic and of each held-out slice with its nearest training slice.
        similarity_p_value: One-sided Mann-Whitney U test that the former are greater.
        pairs: The nearest ones, the nearest first.
    """

    found: Audit
    similarity_name: str
    similarities: tuple[np.ndarray, np.ndarray]
    similarity_p_value: float
    pairs: Sequence[NearestPair]


def audit_model(
    method: Method, subjects: LabelledSubjects, shards: Shards, split: Split, seed: int
) -> ModelAudit | None:
    """Compare a model's pictures, and held-out real images, with all training images.

    Args:
        method: The model.
        subjects: What it paints.
        shards: Prepared slices.
        split: Whose real images are held out.
        seed: Of the noise.

    Returns:
        None where the split has no real images, or is the training split itself.
    """
    records = [r for r in shards.records.subjects if r.split == split and "image" in r.kinds]
    if split == "train" or not any(record.num_slices for record in records):
        return None
    pictures = ((subject.name, method.paint(subject, seed)) for subject in subjects)
    synthetic = evenly(pictures, sum(r.num_slices for r in subjects.records))
    real = ((record.subject, shards.read_image(record)) for record in records)
    held_out = evenly(real, sum(record.num_slices for record in records))
    training = [entry.subject for entry in shards.subjects("train", "image")]
    neighbours = find_neighbours(
        thumbnails(np.stack([*synthetic.values(), *held_out.values()])),
        ((name, thumbnails(shards.read_image(name))) for name in training),
    )
    patients = _patients(synthetic, held_out, [*subjects.records, *records])
    found = audit(neighbours[: len(synthetic)], neighbours[len(synthetic) :], patients)
    name, values, nearest = _similarities(
        [*synthetic.values(), *held_out.values()], neighbours, shards
    )
    parts = values[: len(synthetic)], values[len(synthetic) :]
    p_value = float(stats.mannwhitneyu(*parts, alternative="greater").pvalue)
    return ModelAudit(found, name, parts, p_value, _pairs(synthetic, found, parts[0], nearest))


def _patients(
    synthetic: Slices, held_out: Slices, records: Sequence[SubjectRecord]
) -> tuple[list[str], list[str]] | None:
    """Whose each slice is; None with too few patients for a test of these to find anything."""
    owners = {record.subject: record.patient for record in records}
    found = [owners[name] for name, _ in synthetic], [owners[name] for name, _ in held_out]
    return found if least_p_value(*(len(set(part)) for part in found)) < SIGNIFICANT else None


def evenly(parts: Iterable[tuple[str, np.ndarray]], total: int) -> Slices:
    """At most `MAX_SLICES` slices, every so many of all; subject and place to slice.

    Args:
        parts: Each subject's name and `[slices, height, width]`.
        total: Slices of all.
    """
    step = -(-total // MAX_SLICES)
    chosen: Slices = {}
    start = 0
    for name, slices in parts:
        for place in range(-start % step, len(slices), step):
            chosen[name, place] = slices[place].astype(np.float16)
        start += len(slices)
    return chosen


def describe_audit(audited: ModelAudit) -> dict[str, Any]:
    """Figures of an audit, for `metrics.json`."""
    found = audited.found
    sides = {"synthetic": found.synthetic, "held_out": found.held_out}
    return {
        "features": "thumbnails of 32x32, mean 0 and length 1",
        **{f"{name}_slices": len(part) for name, part in sides.items()},
        **{
            f"{name}_median_{figure}": float(np.median([getattr(each, figure) for each in part]))
            for name, part in sides.items()
            for figure in ("distance", "ratio")
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
    """Whether pictures are nearer to training images than other patients' real images are.

    By the ratio to the next training subject, which smooth pictures do not make small; where there
    is one training subject only, by the distance.
    """
    found = audited.found
    p_value = found.distance_p_value if np.isnan(found.ratio_p_value) else found.ratio_p_value
    return bool(p_value < SIGNIFICANT)


def _similarities(
    slices: Sequence[np.ndarray], neighbours: Sequence[Neighbour], shards: Shards
) -> tuple[str, np.ndarray, list[np.ndarray]]:
    """What similarity is called, and that of each slice with its neighbour; the neighbours."""
    found, nearest = np.empty(len(slices)), [slices[0]] * len(slices)
    is_large = min(slices[0].shape) >= SMALLEST_SIDE
    # One training subject at a time.
    for name in sorted({each.subject for each in neighbours}):
        training = shards.read_image(name)
        for number, each in enumerate(neighbours):
            if each.subject == name:
                pair = [to_unit_range(slices[number].astype(np.float32))]
                pair.append(to_unit_range(training[each.place]))
                nearest[number] = training[each.place].astype(np.float16)
                similarity = multiscale_similarity if is_large else _ssim
                found[number] = similarity(*pair)
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
    names, pictures = list(synthetic), list(synthetic.values())
    return [
        NearestPair(
            pictures[i],
            nearest[i],
            f"{names[i][0]} / {found.synthetic[i].subject}",
            found.synthetic[i].distance,
            float(similarities[i]),
        )
        for i in order.tolist()
    ]


def _ssim(image: np.ndarray, other: np.ndarray) -> float:
    return Comparison(image, other).inside().ssim

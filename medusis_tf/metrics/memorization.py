"""Repeated training images: distances of thumbnails to the nearest training slices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb, isnan
from typing import Any

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist

from medusis_tf.metrics.metric import Metric
from medusis_tf.metrics.tables import Cell, Column, Content, MetricTable

SIDE = 32
_LEAST_DEVIATION = 1e-3


def thumbnails(images: np.ndarray) -> np.ndarray:
    """Means of 32x32 parts of each slice, normalized to mean 0 and length 1.

    The squared distance of two thumbnails is 2 - 2 r, where r is their correlation. A copy
    therefore stays near after changes of brightness and contrast, with noise, and blurred.

    Args:
        images: `[slices, height, width]`, sides of at least 32.

    Returns:
        `[slices, 1024]` float32; all 0 for a slice without contrast.
    """
    small = np.array([shrink(image) for image in images], np.float32).reshape(-1, SIDE * SIDE)
    small -= small.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(small, axis=1, keepdims=True)
    return np.where(lengths > _LEAST_DEVIATION * SIDE, small / np.maximum(lengths, 1e-12), 0)


def shrink(image: np.ndarray) -> np.ndarray:
    """`[32, 32]` means of parts of a slice; neighbouring parts share the pixels on their border."""
    for axis in (0, 1):
        image = _shrink_rows(np.moveaxis(image, axis, 0))
        image = np.moveaxis(image, 0, axis)
    return image


def _shrink_rows(image: np.ndarray) -> np.ndarray:
    count = len(image)
    total = np.concatenate([np.zeros((1, image.shape[1])), np.cumsum(image, axis=0, dtype=float)])
    edges = np.linspace(0, count, SIDE + 1)
    low = np.minimum(edges.astype(int), count - 1)
    part = (edges - low)[:, np.newaxis]
    at_edges = total[low] * (1 - part) + total[low + 1] * part
    return np.diff(at_edges, axis=0) * (SIDE / count)


SIGNIFICANT = 0.01
# A near copy is nearer to its training slice than all but 1 % of the held-out slices.
COPY_QUANTILE = 0.01


@dataclass(frozen=True)
class Neighbour:
    """The nearest training slice of a slice.

    Attributes:
        distance: Distance to the nearest training slice.
        subject: Training subject of that slice.
        place: Index among the subject's slices.
        next_distance: Distance to the nearest slice of any other training subject.
    """

    distance: float
    subject: str
    place: int
    next_distance: float

    @property
    def ratio(self) -> float:
        """Distance divided by that to the next subject: near 0 for a copy, 1 without preference.

        NaN if there is no other training subject.
        """
        if np.isinf(self.next_distance):
            return np.nan
        return self.distance / self.next_distance if self.next_distance > 0 else 1.0


@dataclass(frozen=True)
class Audit:
    """Whether synthetic slices are nearer to training images than held-out real slices are.

    Attributes:
        synthetic: Neighbour of each synthetic slice.
        held_out: Neighbour of each held-out real slice.
        distance_p_value: One-sided Mann-Whitney U test that synthetic distances are smaller; of
            patients' medians if patients are known.
        ratio_p_value: The same test of the ratios, which are not small for images that are merely
            smooth; NaN with one training subject.
        near_copies: Fraction of synthetic slices with a smaller ratio than all but 1 % of the
            held-out ones; with one training subject, a smaller distance.
        samples: Number of tested values of each kind: patients, or slices.
    """

    synthetic: list[Neighbour]
    held_out: list[Neighbour]
    distance_p_value: float
    ratio_p_value: float
    near_copies: float
    samples: tuple[int, int]


def least_p_value(synthetic: int, held_out: int) -> float:
    """The smallest possible p-value of the one-sided test with these numbers of samples."""
    return 1 / comb(synthetic + held_out, synthetic)


def find_neighbours(
    features: np.ndarray, training: Iterable[tuple[str, np.ndarray]]
) -> list[Neighbour]:
    """Find the nearest training slice of each slice.

    Args:
        features: `[slices, dimension]`.
        training: Name and `[slices, dimension]` of each training subject; read once, one subject
            at a time.
    """
    count = len(features)
    best, following = np.full(count, np.inf), np.full(count, np.inf)
    subjects, places = np.full(count, -1), np.zeros(count, int)
    names = []
    for number, (name, part) in enumerate(training):
        names.append(name)
        distances = cdist(features, part)
        nearest = distances.argmin(axis=1)
        found = distances[np.arange(count), nearest]
        is_best = found < best
        following = np.where(is_best, best, np.minimum(following, found))
        best = np.where(is_best, found, best)
        subjects, places = np.where(is_best, number, subjects), np.where(is_best, nearest, places)
    return [
        Neighbour(float(best[i]), names[subjects[i]], int(places[i]), float(following[i]))
        for i in range(count)
    ]


def audit(
    synthetic: list[Neighbour],
    held_out: list[Neighbour],
    patients: tuple[Sequence[str], Sequence[str]] | None = None,
) -> Audit:
    """Compare the neighbours of synthetic slices with those of held-out real slices.

    Slices of one patient are alike. A test that treats them as independent finds copies by chance.
    With patients, the medians of patients are tested.

    Args:
        synthetic: Neighbours of synthetic slices.
        held_out: Neighbours of held-out real slices.
        patients: Patient of each synthetic and of each held-out slice; None to test slices.

    Raises:
        ValueError: There are no slices of one kind, or not one patient for each slice.
    """
    kinds = synthetic, held_out
    if not synthetic or not held_out:
        raise ValueError("the audit needs synthetic and held-out slices")
    distances = [np.array([each.distance for each in part]) for part in kinds]
    ratios = [np.array([each.ratio for each in part]) for part in kinds]
    one_subject = bool(np.isnan(ratios[0]).any())
    compared = distances if one_subject else ratios
    tested = [_medians(values, patients) for values in (distances, ratios)]
    return Audit(
        synthetic,
        held_out,
        mann_whitney(*tested[0]),
        np.nan if one_subject else mann_whitney(*tested[1]),
        float((compared[0] < np.quantile(compared[1], COPY_QUANTILE)).mean()),
        (len(tested[0][0]), len(tested[0][1])),
    )


def mann_whitney(smaller: np.ndarray, larger: np.ndarray) -> float:
    """p-value of the one-sided Mann-Whitney U test that the first values are smaller."""
    return float(stats.mannwhitneyu(smaller, larger, alternative="less").pvalue)


def _medians(
    values: list[np.ndarray], patients: tuple[Sequence[str], Sequence[str]] | None
) -> list[np.ndarray]:
    """The median of each patient's values, for both kinds."""
    if patients is None:
        return values
    medians = []
    for part, names in zip(values, patients, strict=True):
        if len(part) != len(names):
            raise ValueError(
                "the audit needs one patient for each slice. "
                f"Received: {len(part)} slices, {len(names)} patients"
            )
        owners = np.array(names)
        medians.append(np.array([np.median(part[owners == name]) for name in np.unique(owners)]))
    return medians


class MemorizationMetric(Metric):
    """The table of `memorization`, which `evaluation.audit` measures for the model alone."""

    @staticmethod
    def tables(content: Content) -> Iterable[MetricTable]:
        """One table: synthetic slices, and held-out real slices."""
        found = content.get("memorization")
        if found is None or "problem" in found:
            return
        titles = ["slices", "distance", "ratio to next subject", found["similarity"], "near copies"]
        rows: list[tuple[str, list[Cell]]] = []
        for kind, title, copies in (
            ("synthetic", "synthetic slices", f"{100 * found['near_copies']:.1f} %"),
            ("held_out", "held-out real slices", "1 %"),
        ):
            medians = [found[f"{kind}_median_{of}"] for of in ("distance", "ratio", "similarity")]
            rows.append((title, [found[f"{kind}_slices"], *medians, copies]))
        columns = [Column(title) for title in titles]
        yield MetricTable("Nearest training slices", columns, rows, _notes(found), "slices of")


def _notes(found: Mapping[str, Any]) -> list[str]:
    by_slice = found["tested"]["synthetic"] == found["synthetic_slices"]
    tested = "slices, because there are few patients" if by_slice else "patients' medians"
    p_values = [
        f"{_p_value(found[f'{key}_p_value'])} by {name}"
        for key, name in (
            ("ratio", "ratio"),
            ("distance", "distance"),
            ("similarity", found["similarity"]),
        )
    ]
    return [
        f"to the nearest training slice, medians; features: {found['features']}",
        "ratio: distance divided by that to the next training subject, near 0 for a copy; near "
        "copies: slices with a smaller ratio than all but 1 % of the held-out ones",
        f"one-sided Mann-Whitney U test that synthetic slices are nearer, of {tested}: p = "
        + ", ".join(p_values),
    ]


def _p_value(value: float | None) -> str:
    return "-" if value is None or isnan(value) else f"{value:.3g}"

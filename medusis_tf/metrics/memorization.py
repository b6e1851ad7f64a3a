"""Small pictures as features: where what lies, whatever the brightness and contrast."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist

SIDE = 32
_LEAST_DEVIATION = 1e-3


def thumbnails(images: np.ndarray) -> np.ndarray:
    """Means over 32x32 parts of each slice, brought to mean 0 and length 1.

    The squared distance of two is 2 - 2 r, with r their correlation: a copy stays near though its
    brightness and contrast be changed, noise added or the picture blurred.

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
    """`[32, 32]` means over parts of a slice; parts share the pixels on their borders."""
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
# A slice is as near as a copy if not one in a hundred held-out slices is as near.
COPY_QUANTILE = 0.01


@dataclass(frozen=True)
class Neighbour:
    """The nearest training slice of a slice.

    Attributes:
        distance: To it.
        subject: Whose slice it is.
        place: Of it among the subject's slices.
        next_distance: To the nearest slice of any other training subject.
    """

    distance: float
    subject: str
    place: int
    next_distance: float

    @property
    def ratio(self) -> float:
        """Of the distance to that of the next subject; near 0 for a copy, 1 for no preference.

        NaN where there is no other training subject.
        """
        if np.isinf(self.next_distance):
            return np.nan
        return self.distance / self.next_distance if self.next_distance > 0 else 1.0


@dataclass(frozen=True)
class Audit:
    """Whether synthetic slices lie nearer to the training images than held-out real slices do.

    Attributes:
        synthetic: Neighbour of each synthetic slice.
        held_out: Neighbour of each held-out real slice.
        distance_p_value: One-sided Mann-Whitney U test that synthetic distances are smaller; of
            patients' medians where patients are known.
        ratio_p_value: The same of the ratios to the next training subject's distance, which a
            picture that is merely smooth does not make small; NaN with one training subject.
        near_copies: Share of synthetic slices with a smaller ratio than all but 1 % of held-out
            ones; with one training subject, a smaller distance.
        samples: How many values of each kind were tested: patients, or slices.
    """

    synthetic: list[Neighbour]
    held_out: list[Neighbour]
    distance_p_value: float
    ratio_p_value: float
    near_copies: float
    samples: tuple[int, int]


def least_p_value(synthetic: int, held_out: int) -> float:
    """What the one-sided test gives at best with so many samples of each kind."""
    return 1 / comb(synthetic + held_out, synthetic)


def find_neighbours(
    features: np.ndarray, training: Iterable[tuple[str, np.ndarray]]
) -> list[Neighbour]:
    """The nearest training slice of each slice; the training set is read once, a subject at a time.

    Args:
        features: `[slices, features]`.
        training: Subject's name and its `[slices, features]`.
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

    Slices of one patient are alike: a test that takes them for independent finds copies where there
    are none. With patients, it is their medians that are tested.

    Args:
        synthetic: Neighbours of synthetic slices.
        held_out: Of held-out real slices.
        patients: Whose each synthetic slice is, and whose each held-out one; None to test slices.

    Raises:
        ValueError: There are none of one kind, or patients are not as many as slices.
    """
    kinds = synthetic, held_out
    if not synthetic or not held_out:
        raise ValueError("the audit needs synthetic and held-out slices.")
    distances = [np.array([each.distance for each in part]) for part in kinds]
    ratios = [np.array([each.ratio for each in part]) for part in kinds]
    one_subject = bool(np.isnan(ratios[0]).any())
    compared = distances if one_subject else ratios
    tested = [_medians(values, patients) for values in (distances, ratios)]
    return Audit(
        synthetic,
        held_out,
        _p_value(*tested[0]),
        np.nan if one_subject else _p_value(*tested[1]),
        float((compared[0] < np.quantile(compared[1], COPY_QUANTILE)).mean()),
        (len(tested[0][0]), len(tested[0][1])),
    )


def _medians(
    values: list[np.ndarray], patients: tuple[Sequence[str], Sequence[str]] | None
) -> list[np.ndarray]:
    """The median of each patient's values, of both kinds."""
    if patients is None:
        return values
    medians = []
    for part, names in zip(values, patients, strict=True):
        if len(part) != len(names):
            raise ValueError(
                f"every slice has a patient. Received: {len(part)} slices, {len(names)} patients"
            )
        owners = np.array(names)
        medians.append(np.array([np.median(part[owners == name]) for name in np.unique(owners)]))
    return medians


def _p_value(synthetic: np.ndarray, held_out: np.ndarray) -> float:
    return float(stats.mannwhitneyu(synthetic, held_out, alternative="less").pvalue)

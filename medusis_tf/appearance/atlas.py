"""Where each tissue occurs: its probability by location in the body, counted in label maps."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medusis_tf.appearance.geometry import Geometry

# Edges in millimetres: fine below the skin, where the tissues change fastest.
_DEPTH_EDGES = np.array([2, 4, 6, 8, 10, 13, 16, 20, 25, 30, 36, 44, 54, 68], np.float32)
NUM_DEPTHS = len(_DEPTH_EDGES) + 1
_NUM_ANGLES, _NUM_POSITIONS = 8, 4
# Each level refines the cells of the level above it.
LEVELS = ("depth", "angle", "axial position")
_SIZES = (2 * NUM_DEPTHS, 2 * NUM_DEPTHS * _NUM_ANGLES, 2 * NUM_DEPTHS * _NUM_ANGLES * 4)
# Pixels of a coarser cell that count beside those of a finer one; infinite: the finer is unused.
_STRENGTHS = (1e2, 1e3, 1e4, np.inf)
_LEAST_PROBABILITY = 1e-4


def locate(geometry: Geometry) -> np.ndarray:
    """Cells of all pixels.

    Args:
        geometry: Location of the pixels.

    Returns:
        `[levels, slices, height, width]` int32 ids of cells, by depth, angle and axial position.
        Depths that end beyond the field of view have cells of their own.
    """
    depth = np.digitize(geometry.depth_mm, _DEPTH_EDGES).astype(np.int32)
    depth += NUM_DEPTHS * ~geometry.is_certain
    turn = (geometry.angle + np.pi) / (2 * np.pi)
    angle = np.minimum((turn * _NUM_ANGLES).astype(np.int32), _NUM_ANGLES - 1)
    place = np.clip(geometry.position * _NUM_POSITIONS, 0, _NUM_POSITIONS - 1).astype(np.int32)
    by_angle = depth * _NUM_ANGLES + angle
    return np.stack([depth, by_angle, by_angle * _NUM_POSITIONS + place[:, None, None]])


def count_classes(label_map: np.ndarray, geometry: Geometry, num_classes: int) -> list[np.ndarray]:
    """Count the classes of a subject's body in the cells of each level.

    Args:
        label_map: `[slices, height, width]` class ids.
        geometry: Location of its pixels.
        num_classes: K, background included.

    Returns:
        `[cells, K]` float64 for each level.
    """
    labels = label_map[geometry.body].astype(np.int64)
    counts = []
    for cells, size in zip(locate(geometry), _SIZES, strict=True):
        joint = cells[geometry.body].astype(np.int64) * num_classes + labels
        table = np.bincount(joint, minlength=size * num_classes)
        counts.append(table.reshape(size, num_classes).astype(np.float64))
    return counts


@dataclass(frozen=True, eq=False)
class Atlas:
    """Probability of each class in each cell.

    Attributes:
        tables: `[cells, K]` for each level, each row of sum 1.
        strengths: Strength of the coarser cells at the second and third level.
    """

    tables: tuple[np.ndarray, ...]
    strengths: tuple[float, ...]

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the levels in use."""
        used = [np.isfinite(strength) for strength in self.strengths]
        return LEVELS[: 1 + max((i + 1 for i, u in enumerate(used) if u), default=0)]

    @property
    def by_depth(self) -> np.ndarray:
        """`[cells, K]` probabilities by depth alone."""
        return self.tables[0]

    def probabilities(self, cells: np.ndarray) -> np.ndarray:
        """Probabilities of pixels: `[levels, ...]` cells of `locate` to `[..., K]` float32."""
        return self.tables[-1][cells[-1]].astype(np.float32)


def build_atlas(
    counts: Sequence[Sequence[np.ndarray]], strengths: tuple[float, ...] | None = None
) -> Atlas:
    """Build an atlas from the counts of several patients.

    A fine cell with few pixels takes over the probabilities of the coarser cell around it. How
    many are few follows from leaving out one patient after the other: the strength under which
    the label maps of the others explain the patient best.

    Args:
        counts: Output of `count_classes` for each patient.
        strengths: Strengths of an earlier atlas; found here if not given.
    """
    if strengths is None:
        strengths = _choose_strengths(counts)
    return Atlas(_tables(_sums(counts), strengths), strengths)


def _sums(counts: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    return [np.sum(level, axis=0) for level in zip(*counts, strict=True)]


def _tables(counts: Sequence[np.ndarray], strengths: tuple[float, ...]) -> tuple[np.ndarray, ...]:
    whole = counts[0].sum(axis=0) + 1.0
    table = _blend(counts[0], np.tile(whole / whole.sum(), (len(counts[0]), 1)), 50.0)
    tables = [table]
    for level, strength in enumerate(strengths, start=1):
        coarse = np.repeat(tables[-1], len(counts[level]) // len(tables[-1]), axis=0)
        tables.append(coarse if np.isinf(strength) else _blend(counts[level], coarse, strength))
    return tuple(_at_least(each) for each in tables)


def _blend(counts: np.ndarray, coarse: np.ndarray, strength: float) -> np.ndarray:
    return (counts + strength * coarse) / (counts.sum(axis=1, keepdims=True) + strength)


def _at_least(table: np.ndarray) -> np.ndarray:
    """Keep classes possible that occur anywhere, with a small probability."""
    table = np.where(table.sum(axis=0) > 0, np.maximum(table, _LEAST_PROBABILITY), 0)
    return table / table.sum(axis=1, keepdims=True)


def _choose_strengths(counts: Sequence[Sequence[np.ndarray]]) -> tuple[float, ...]:
    if len(counts) < 3:
        return (np.inf, np.inf)
    whole = _sums(counts)
    scores = {}
    for strengths in itertools.product(_STRENGTHS, repeat=2):
        score = 0.0
        for patient in counts:
            rest = [total - own for total, own in zip(whole, patient, strict=True)]
            table = _tables(rest, strengths)[-1]
            score += float((patient[-1] * np.log(table + 1e-12)).sum() / patient[-1].sum())
        scores[strengths] = score
    return max(scores, key=lambda each: scores[each])

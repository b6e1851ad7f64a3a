"""Neighbouring slices of a subject: the samples of networks that synthesize volumes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.shards.manifest import Kind, SubjectRecord
from medusis_tf.data.shards.shards import Shards
from medusis_tf.errors import UserError

_NAMES: dict[str, str] = {"label_map": "label maps", "image": "images"}


class Neighbours(NamedTuple):
    """Which slices a training sample consists of.

    Attributes:
        depth: Number of neighbouring slices of a sample.
        margin: Number of further label maps before and after them. Beyond the end of a volume, its
            last label map is repeated.
    """

    depth: int = 1
    margin: int = 0


def neighbours_of(config: ExperimentConfig) -> Neighbours:
    """The slices of a training sample of an experiment."""
    return Neighbours(*config.sample_slices)


def first_places(record: SubjectRecord, depth: int) -> np.ndarray:
    """Places of the slices of a subject from which `depth` neighbours follow each other.

    Slices that were left out, since they contain too little, interrupt the sequence.

    Returns:
        `[count]` int64, ascending, from 0.
    """
    indices = np.array(record.slice_indices, np.int64)
    places = np.arange(max(0, len(indices) - depth + 1), dtype=np.int64)
    return places[indices[places + depth - 1] - indices[places] == depth - 1]


def longest_sequence(record: SubjectRecord) -> int:
    """Number of slices of a subject that follow each other without a gap, at most."""
    gaps = np.flatnonzero(np.diff(np.array(record.slice_indices, np.int64)) > 1)
    return int(np.diff([-1, *gaps, record.num_slices - 1]).max(initial=0))


def check_sequences(records: Sequence[SubjectRecord], kind: Kind, depth: int) -> None:
    """Refuse subjects of which none has enough neighbouring slices for a sample.

    Args:
        records: Training subjects with this kind.
        kind: Kind of the slices.
        depth: Slices of a sample.

    Raises:
        UserError: None has `depth` slices that follow each other.
    """
    most = max((longest_sequence(record) for record in records), default=0)
    if most < depth:
        raise UserError(
            f"no training subject has {depth} neighbouring slices of {_NAMES[kind]}: the most are "
            f"{most}. Lower volumes.depth, or data.minimum_foreground, which leaves out slices."
        )


def sample_numbers(shards: Shards, kind: Kind, depth: int, margin: int = 0) -> np.ndarray:
    """Numbers of the slices of every sample, in the file of a kind.

    Args:
        shards: Prepared slices.
        kind: Kind of the slices.
        depth: Slices of a sample.
        margin: Slices before and after it. Where there are none, the nearest one is repeated.

    Returns:
        `[slices of the file, depth + 2 * margin]` int64: row n is the sample that begins with
        slice n.
    """
    rows = []
    for record in shards.records.subjects:
        if kind in record.kinds:
            found = _places(np.array(record.slice_indices, np.int64), depth, margin)
            rows.append(record.first_record[kind] + found)
    return np.concatenate(rows) if rows else np.zeros((0, depth + 2 * margin), np.int64)


def _places(indices: np.ndarray, depth: int, margin: int) -> np.ndarray:
    """Places of the slices of the sample that begins with each slice of a subject."""
    count = len(indices)
    # Number of the sequence without a gap that each slice belongs to.
    sequence = np.cumsum(np.diff(indices, prepend=indices[:1]) > 1)
    first = np.searchsorted(sequence, sequence, "left")
    last = np.searchsorted(sequence, sequence, "right") - 1
    wanted = np.arange(count)[:, np.newaxis] + np.arange(-margin, depth + margin)
    return np.clip(wanted, first[:, np.newaxis], last[:, np.newaxis])

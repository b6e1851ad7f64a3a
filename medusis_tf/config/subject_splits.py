"""Random splits of subjects by patient."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from medusis_tf.config.data import Split
from medusis_tf.config.subject_manifest import suggestion
from medusis_tf.errors import UserError


def assign_splits(
    subjects: Sequence[Mapping[str, Any]], splits: Mapping[str, float], seed: int
) -> list[dict[str, Any]]:
    """Assign a split to every subject that has none; all subjects of a patient get the same.

    Patients are ordered by a hash of `seed` and their name, and the order is cut at the fractions.
    Each split gets its share of the patients to within one, and at least one if there are as many
    patients as splits. The order of the list does not matter. Adding a patient moves at most one
    other patient across each cut (more only if a split was empty). Patients with a split keep it
    and are not counted.

    Args:
        subjects: Dictionaries with the keys of `Subject`.
        splits: Fraction of the patients for each split, for example `{train: 0.8, test: 0.2}`.
        seed: Seed of the order. Another seed gives other splits.

    Returns:
        Copies of the subjects in the same order, all with a split.

    Raises:
        UserError: A split is unknown, or the fractions are invalid or do not sum to 1.
    """
    fractions = _check_fractions(splits)
    chosen: dict[str, str] = {}
    for entry in subjects:
        if entry.get("split"):
            chosen.setdefault(_patient(entry), entry["split"])
    undecided = {_patient(entry) for entry in subjects} - chosen.keys()
    ordered = sorted(undecided, key=lambda patient: _hash(f"{seed}:{patient}"))
    counts = _counts(len(ordered), fractions)
    names = (name for name, count in counts.items() for _ in range(count))
    chosen.update(zip(ordered, names, strict=True))
    return [{**entry, "split": entry.get("split") or chosen[_patient(entry)]} for entry in subjects]


def _check_fractions(splits: Mapping[str, float]) -> dict[str, float]:
    known = get_args(Split)
    for name, fraction in splits.items():
        if name not in known:
            raise UserError(f"splits: unknown split {name!r}{suggestion(str(name), known)}")
        if not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
            raise UserError(f"splits: {name} must be from 0 to 1. Received: {fraction!r}")
    if abs(sum(splits.values()) - 1) > 1e-6:
        raise UserError(f"splits must sum to 1. Received: {dict(splits)}")
    # Test patients come first, so that another fraction for validation does not change them.
    return {name: splits[name] for name in reversed(known) if splits.get(name, 0) > 0}


def _counts(total: int, fractions: Mapping[str, float]) -> dict[str, int]:
    """Number of patients of each split, in order."""
    counts, share, below = dict[str, int](), 0.0, 0
    for name, fraction in fractions.items():
        share += fraction
        cut = math.floor(share * total + 0.5)
        counts[name], below = cut - below, cut
    if total >= len(counts):
        for name in counts:
            if counts[name] == 0:
                counts[max(counts, key=lambda other: counts[other])] -= 1
                counts[name] = 1
    return counts


def _patient(entry: Mapping[str, Any]) -> str:
    return str(entry.get("patient") or entry.get("subject"))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

"""Which training subjects' label maps come with their own images."""

from __future__ import annotations

import hashlib

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.manifest import SubjectRecord
from medusis_tf.data.shards import Shards
from medusis_tf.errors import UserError


def paired_subjects(config: ExperimentConfig, shards: Shards) -> tuple[SubjectRecord, ...]:
    """The training subjects whose label maps come with their own images, as ordered in the config.

    With `semi_supervised` they are `data.paired_fraction`, rounded, of those that feed both
    streams, and one at least. The choice is that of the seed and the subjects' names: a larger
    fraction holds the subjects of a smaller one, and the place of a subject among the others does
    not depend on them.

    Args:
        config: The experiment.
        shards: Its prepared slices.

    Returns:
        None for pairings that draw label maps and images apart.

    Raises:
        UserError: Pairs are asked for, and none has slices.
    """
    if not config.data.draws_pairs:
        return ()
    both = [entry for entry in shards.subjects("train", "image") if len(entry.streams) == 2]
    if not both:
        raise UserError(
            f"data.pairing={config.data.pairing}: no training subject that feeds both streams has "
            "a slice left. Lower data.minimum_foreground, or check that its volumes are not empty."
        )
    fraction = config.data.paired_fraction
    if fraction is None:
        return tuple(both)
    ranked = sorted(both, key=lambda entry: _rank(config.seed, entry.subject))
    chosen = {entry.subject for entry in ranked[: max(1, round(fraction * len(both)))]}
    return tuple(entry for entry in both if entry.subject in chosen)


def _rank(seed: int, subject: str) -> bytes:
    return hashlib.sha256(f"{seed} {subject}".encode()).digest()

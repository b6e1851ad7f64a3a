"""The rows of the study: what a segmenter is trained on, and what it starts from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medusis_tf.errors import UserError

SYNTHETIC = "synthetic"
MIXTURE = "mixture"
ESTIMATED_MIXTURE = "estimated_mixture"
ESTIMATED_MEANS = "estimated_means"
ESTIMATED_TEXTURE = "estimated_texture"
REAL = "real"
FINE_TUNING = "fine_tuning"
# Training sets by key, in the order of the table.
SOURCES = {
    SYNTHETIC: "synthetic MR",
    MIXTURE: "Gaussian mixture, random greys",
    ESTIMATED_MIXTURE: "Gaussian mixture, estimated greys",
    ESTIMATED_MEANS: "painted means, estimated greys",
    ESTIMATED_TEXTURE: "painted quantiles and texture, estimated",
    REAL: "real MR (upper bound)",
}
ESTIMATED = frozenset({ESTIMATED_MIXTURE, ESTIMATED_MEANS, ESTIMATED_TEXTURE})
CHOICES = (*SOURCES, FINE_TUNING)
# What fine-tuning starts from; None for new weights.
STARTS = (None, MIXTURE, SYNTHETIC)


@dataclass(frozen=True)
class Row:
    """A way of training a segmenter.

    Attributes:
        source: Key of the training set, one of `SOURCES`.
        patients: Number of real labelled patients to train on; None for all of them, and for
            training sets that are not real.
        start: Row whose segmenter is trained further; None for new weights.
    """

    source: str
    patients: int | None = None
    start: str | None = None

    @property
    def key(self) -> str:
        """Name in files: `synthetic`, `real_2`, `synthetic_then_real_2`."""
        own = self.source if self.patients is None else f"{self.source}_{self.patients}"
        return own if self.start is None else f"{self.start}_then_{own}"

    @property
    def title(self) -> str:
        """Name in tables."""
        if self.patients is None:
            return SOURCES[self.source]
        real = f"real MR of {self.patients} patient{'' if self.patients == 1 else 's'}"
        return f"{real} only" if self.start is None else f"{SOURCES[self.start]}, then {real}"

    @property
    def short_title(self) -> str:
        """The key in words, for narrow columns."""
        return self.key.replace("_", " ")

    @property
    def is_fine_tuning(self) -> bool:
        """Whether the row belongs to the comparison of pre-trainings."""
        return self.patients is not None


def make_rows(sources: Sequence[str], patients: Sequence[int]) -> list[Row]:
    """All rows in the order of the tables.

    Args:
        sources: Training sets that are available and chosen.
        patients: Numbers of patients to fine-tune on; empty for no fine-tuning.
    """
    rows = [Row(source) for source in SOURCES if source in sources]
    starts = [start for start in STARTS if start is None or start in sources]
    return [*rows, *(Row(REAL, count, start) for count in patients for start in starts)]


def row_of_key(key: str) -> Row | None:
    """The row of a name in files; None if it is the name of none."""
    start, _, own = key.rpartition("_then_")
    source, _, count = own.rpartition("_")
    if own in SOURCES and not start:
        return Row(own)
    if source == REAL and count.isdecimal() and (start or None) in STARTS:
        return Row(REAL, int(count), start or None)
    return None


def trainings(rows: Sequence[Row], seeds: Sequence[int]) -> Iterator[tuple[Row, int]]:
    """Rows and seeds in the order of training: all rows of a seed, then the next seed."""
    return ((row, seed) for seed in seeds for row in rows)


def read_choices(text: str | None) -> tuple[str, ...]:
    """Parse the rows of the command line, such as `synthetic,real`; None for all.

    Raises:
        UserError: A name is unknown.
    """
    if text is None:
        return CHOICES
    names = tuple(dict.fromkeys(text.split(",")))
    if unknown := [name for name in names if name not in CHOICES]:
        raise UserError(
            f"--rows must be some of {','.join(CHOICES)}. Received: {', '.join(unknown)!r}"
        )
    return names


def read_patients(text: str) -> tuple[int, ...]:
    """Parse numbers of patients, such as `1,2,4`, in ascending order.

    Raises:
        UserError: The text is not a list of positive whole numbers.
    """
    if not re.fullmatch(r"[1-9]\d{0,5}(,[1-9]\d{0,5})*", text, re.ASCII):
        raise UserError(
            f"--fine-tune-patients must be positive whole numbers, as in 1,2,4. Received: {text!r}"
        )
    return tuple(sorted({int(part) for part in text.split(",")}))

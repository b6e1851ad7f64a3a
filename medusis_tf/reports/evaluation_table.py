"""A table of figures, and how figures are written in its cells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class EvaluationTable:
    """A table: a line for each method.

    Attributes:
        title: Above it.
        columns: After the first one.
        rows: What stands in the first column, and a cell for each other one.
        notes: Below it: what the figures are.
        first_column: Its heading.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    notes: Sequence[str] = ()
    first_column: str = "method"


def number(value: float | None, digits: int = 3) -> str:
    """A figure with so many decimals; a dash where there is none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.{digits}f}"


def significant(value: float | None, digits: int = 3) -> str:
    """A figure of any size with so many significant digits; a dash where there is none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.{digits}g}"


def summary_cell(summary: Figures | None, digits: int = 3) -> str:
    """Mean, standard deviation and interval, as far as there are patients for them.

    With one patient the standard deviation is that of the slices.
    """
    if summary is None:
        return "-"
    text = number(summary["mean"], digits)
    spread = summary["standard_deviation"]
    if not _exists(spread):
        spread = summary["slice_standard_deviation"]
    if _exists(spread):
        text += f" ± {number(spread, digits)}"
    if _exists(summary["low"]):
        text += f" [{number(summary['low'], digits)}, {number(summary['high'], digits)}]"
    return text


def counted(count: int, what: str) -> str:
    """`1 slice`, `2 slices`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _exists(value: float | None) -> bool:
    return value is not None and math.isfinite(value)

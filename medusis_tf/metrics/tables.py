"""Describe the tables of a metric; `medusis_tf.reports.evaluation` writes their cells as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# What `metrics.json` contains, as plain values.
Content = Mapping[str, Any]
# A text, a count, a number, a summary of `medusis_tf.metrics.measure`, or None for no value.
Cell = str | int | float | Mapping[str, Any] | None


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Heading, with the unit if there is one.
        digits: Number of decimals.
        is_significant: Whether `digits` counts significant digits instead of decimals.
    """

    title: str
    digits: int = 3
    is_significant: bool = False


@dataclass(frozen=True)
class MetricTable:
    """A table with one row for each painter.

    Attributes:
        title: Title above the table.
        columns: Columns after the first one.
        rows: Text of the first column and the cells of the other columns.
        notes: Explanations below the table.
        first_column: Heading of the first column.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    notes: Sequence[str] = ()
    first_column: str = "method"


def results_of(content: Content, key: str) -> list[tuple[str, Any]]:
    """Name and results of each painter that has a metric.

    Args:
        content: Content of `metrics.json`.
        key: Key of the metric.
    """
    return [(each["name"], each[key]) for each in content["methods"] if key in each]


def summary_table(
    content: Content,
    key: str,
    title: str,
    columns: Mapping[str, Column],
    notes: Sequence[str] = (),
) -> MetricTable:
    """A table of summaries, as `PatientValues.summaries` returns them.

    Args:
        content: Content of `metrics.json`.
        key: Key of the metric.
        title: Title of the table.
        columns: Key of each summary to its column.
        notes: Explanations below the table.
    """
    rows = [
        (name, [results.get(column) for column in columns])
        for name, results in results_of(content, key)
    ]
    return MetricTable(title, list(columns.values()), rows, notes)


def counted(count: int, noun: str) -> str:
    """A count with its noun: `1 slice`, `2 slices`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

"""The tables of an evaluation as text, for the console and the report."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from medusis_tf.config.data import ClassEntry
from medusis_tf.evaluation.metric_list import all_metrics
from medusis_tf.metrics.tables import Cell, Column, Content, MetricTable
from medusis_tf.reports.formatting import significant

MISSING = "-"


@dataclass(frozen=True)
class EvaluationTable:
    """A table with all cells as text.

    Attributes:
        title: Title above the table.
        columns: Headings after the first one.
        rows: Text of the first column and of the other columns.
        notes: Explanations below the table.
        first_column: Heading of the first column.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    notes: Sequence[str] = ()
    first_column: str = "method"


def evaluation_tables(content: Content) -> list[EvaluationTable]:
    """All tables of an evaluation; tables without rows are left out.

    Args:
        content: Content of `metrics.json`.
    """
    tables = [table for metric in all_metrics() for table in metric.tables(content)]
    tables.append(seed_table(content, tables))
    return [_as_text(table) for table in tables if table.rows]


def seed_table(content: Content, tables: Iterable[MetricTable]) -> MetricTable:
    """The metrics of the model for each noise seed; no rows if there is one seed only.

    Args:
        content: Content of `metrics.json`.
        tables: Tables of all metrics.
    """
    model = content["model"]["name"]
    seeds = [str(seed) for seed in content["seeds"]]
    rows: list[tuple[str, Sequence[Cell]]] = []
    for table in tables:
        cells = dict(table.rows).get(model, ())
        for column, cell in zip(table.columns, cells, strict=bool(cells)):
            if isinstance(cell, Mapping) and "by_seed" in cell:
                values = [cell["by_seed"].get(seed) for seed in seeds]
                texts = [_number(value, column.digits) for value in [*values, _deviation(values)]]
                rows.append((f"{table.title}: {column.title}", texts))
    columns = [Column(f"seed {seed}") for seed in seeds] + [Column("± over seeds")]
    notes = [
        "mean of patients' means with the noise vector of each seed, and the standard deviation "
        "over the seeds; the tables above pool all seeds"
    ]
    return MetricTable(f"Noise seeds: {model}", columns, rows, notes, "metric")


def class_table(content: Content, classes: Sequence[ClassEntry]) -> EvaluationTable:
    """A row for each class with results of the model.

    Args:
        content: Content of `metrics.json`.
        classes: Class table.
    """
    model = content["methods"][0]
    similar = model.get("similarity", {}).get("classes", {})
    segmenters = model.get("segmentation", {})
    similarity = {"ssim": Column("SSIM"), "psnr": Column("PSNR dB", 2), "mae": Column("MAE")}
    columns = list(similarity.values()) if similar else []
    for name in segmenters:
        columns += [Column(f"Dice, {name}"), Column("IoU"), Column("HD95 mm", 1)]
    rows: list[tuple[str, list[Cell]]] = []
    for entry in classes:
        found = [each["classes"].get(entry.name) for each in segmenters.values()]
        if entry.name in similar or any(found):
            own = similar.get(entry.name, {})
            cells: list[Cell] = [own.get(key) for key in similarity] if similar else []
            rows.append((entry.name, cells + [cell for each in found for cell in _overlap(each)]))
    return _as_text(MetricTable(f"Classes: {model['name']}", columns, rows, (), "class"))


def cell_text(cell: Cell, column: Column) -> str:
    """The text of a cell.

    A summary is written as its mean, standard deviation and interval, as far as they exist. With
    one patient the standard deviation is that of the slices.

    Args:
        cell: Text, count, number or summary; None for no value.
        column: Column with the number of digits.
    """
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int):
        return str(cell)

    def text(value: float | None) -> str:
        if column.is_significant:
            return (
                MISSING if value is None or math.isnan(value) else significant(value, column.digits)
            )
        return _number(value, column.digits)

    if not isinstance(cell, Mapping):
        return text(cell)
    found = text(cell["mean"])
    deviation = cell["standard_deviation"]
    if not _is_finite(deviation):
        deviation = cell.get("slice_standard_deviation")
    if _is_finite(deviation):
        found += f" ± {text(deviation)}"
    if _is_finite(cell.get("low")):
        found += f" [{text(cell['low'])}, {text(cell['high'])}]"
    return found


def _as_text(table: MetricTable) -> EvaluationTable:
    return EvaluationTable(
        table.title,
        [column.title for column in table.columns],
        [
            (name, [cell_text(*pair) for pair in zip(cells, table.columns, strict=True)])
            for name, cells in table.rows
        ],
        table.notes,
        table.first_column,
    )


def _overlap(found: Content | None) -> list[float | None]:
    if found is None:
        return [None] * 3
    distance = found["hd95_mm"]
    return [found["dice"], found["iou"], None if distance is None else distance["mean"]]


def _deviation(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.stdev(known) if len(known) > 1 else None


def _number(value: float | None, digits: int) -> str:
    return MISSING if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)

"""A table of figures, and how figures are written in its cells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medusis_tf.config.data import ClassEntry

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


def class_table(content: Figures, classes: Sequence[ClassEntry]) -> EvaluationTable:
    """A row for each class that occurs; without rows if nothing is known of any.

    Args:
        content: As in `metrics.json`.
        classes: The class table.
    """
    model = content["methods"][0]
    similar = model.get("similarity", {}).get("classes", {})
    segmenters = model.get("segmentation", {})
    columns = ["SSIM", "PSNR dB", "MAE"] if similar else []
    for name in segmenters:
        columns += [f"Dice, {name}", "IoU", "HD95 mm"]
    rows = []
    for entry in classes:
        found = [each["classes"].get(entry.name) for each in segmenters.values()]
        if entry.name in similar or any(found):
            cells = _similarity(similar.get(entry.name, {})) if similar else []
            rows.append((entry.name, [*cells, *(cell for each in found for cell in _found(each))]))
    return EvaluationTable(f"Classes: {model['name']}", columns, rows, (), "class")


def _similarity(figures: Figures) -> list[str]:
    digits = {"ssim": 3, "psnr": 2, "mae": 3}
    return [summary_cell(figures.get(name), count) for name, count in digits.items()]


def _found(figures: Figures | None) -> list[str]:
    if figures is None:
        return ["-"] * 3
    distance = figures["hd95_mm"]
    return [
        number(figures["dice"]),
        number(figures["iou"]),
        "-" if distance is None else number(distance["mean"], 1),
    ]

"""What the model gets in each class: similarity, and what segmenters find."""

from __future__ import annotations

from collections.abc import Sequence

from medusis_tf.config.data import ClassEntry
from medusis_tf.reports.evaluation_table import EvaluationTable, Figures, number, summary_cell


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

"""Tables, a plot and panels of a mask-loss study."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medusis_tf.config.data import ClassEntry
from medusis_tf.errors import UserError
from medusis_tf.evaluation.painters import TRUE_IMAGE
from medusis_tf.evaluation.segmenters import INDEPENDENT
from medusis_tf.panels import PanelRow, panel
from medusis_tf.reports.formatting import strict_json

Mask = Literal["off", "on"]

_TITLES = {
    "outline_dice": "outline Dice",
    "painted_as_air": "painted as air",
    "invisible": "invisible grey",
    "ssim": "SSIM",
    "body_ssim": "SSIM in body",
    "psnr": "PSNR dB",
}
_COLOURS = {"off": "#c2571a", "on": "#1f6fb2"}
_DPI = 100
_COLUMNS = 3


@dataclass(frozen=True)
class StudyRow:
    """One evaluation of one run.

    Attributes:
        seed: Seed of the run.
        mask: Whether the mask loss was on.
        steps: Training steps at the evaluation.
        metrics: Mean over the test subjects by metric name, for the synthetic images.
        true_image: The same metrics of the true images; NaN if undefined.
    """

    seed: int
    mask: Mask
    steps: int
    metrics: Mapping[str, float]
    true_image: Mapping[str, float]


def read_row(evaluation: Mapping[str, Any], seed: int, mask: Mask, steps: int) -> StudyRow:
    """Read the row of an evaluation from the content of its `metrics.json`."""
    methods = evaluation["methods"]
    true_image = next(method for method in methods if _is_true_image(method))
    return StudyRow(seed, mask, steps, _metrics(methods[0]), _metrics(true_image))


def study_table(rows: Sequence[StudyRow]) -> str:
    """Markdown table with one line per step count and mask loss: mean over seeds and each seed.

    The last line has the metrics of the true images.
    """
    names = list(rows[0].metrics)
    seeds = sorted({row.seed for row in rows})
    header = ["steps", "mask loss", *map(title, names)]
    lines = [header, ["---"] * 2 + ["---:"] * len(names)]
    for steps in sorted({row.steps for row in rows}):
        for mask in ("off", "on"):
            found = [row for row in rows if (row.steps, row.mask) == (steps, mask)]
            if found:
                cells = [_cell(name, [row.metrics[name] for row in found]) for name in names]
                lines.append([str(steps), mask, *cells])
    true = [_number(name, rows[0].true_image[name]) for name in names]
    lines.append(["true image", "", *true])
    note = f"Mean over seeds {', '.join(map(str, seeds))}; each seed in brackets."
    return "\n".join([*("| " + " | ".join(line) + " |" for line in lines), "", note])


def write_results(folder: Path, rows: Sequence[StudyRow]) -> None:
    """Write `results.json`, `results.csv` and `results.md`.

    Raises:
        UserError: A file cannot be written.
    """
    try:
        text = strict_json([_as_json(row) for row in rows])
        (folder / "results.json").write_text(text, encoding="utf-8")
        (folder / "results.md").write_text(study_table(rows) + "\n", encoding="utf-8")
        with (folder / "results.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["seed", "mask_loss", "steps", *rows[0].metrics])
            for row in rows:
                writer.writerow([row.seed, row.mask, row.steps, *row.metrics.values()])
    except OSError as error:
        raise UserError(
            f"cannot write the results to {folder}: {error.strerror}. Give another --out."
        ) from None


def study_plot(rows: Sequence[StudyRow]) -> np.ndarray:
    """Plot every metric against the steps: thin lines for seeds, thick lines for their means.

    Returns:
        `[height, width, 3]` uint8.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # PSNR is redundant with SSIM, and undefined for the true image.
    names = [name for name in rows[0].metrics if name != "psnr"]
    lines = -(-len(names) // _COLUMNS)
    figure = Figure(figsize=(4.2 * _COLUMNS, 3.0 * lines), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for place, name in enumerate(names):
        axes = figure.add_subplot(lines, _COLUMNS, place + 1)
        _draw(axes, rows, name)
        if place == 0:
            axes.legend(frameon=False, fontsize=9)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def study_panel(
    image_files: Mapping[Mask, Path], classes: Sequence[ClassEntry], heading: str
) -> np.ndarray:
    """Panel of label maps and synthetic images without and with the mask loss; no real image.

    Args:
        image_files: Files of `medusis train-and-evaluate` with the same slices.
        classes: Class table.
        heading: Text above the panel.

    Returns:
        `[height, width, 3]` uint8.
    """
    found = {mask: np.load(path) for mask, path in image_files.items()}
    label_map, slices = (found["off"][name] for name in ("label_map", "slice"))
    rows = []
    for place, index in enumerate(slices):
        images = {f"mask loss {mask}": found[mask]["image"][place] for mask in ("off", "on")}
        rows.append(PanelRow(label_map[place], images, f"slice {index}"))
    return panel(rows, classes, heading)


def title(name: str) -> str:
    """Display name of a metric."""
    return _TITLES.get(name, name.removeprefix("dice_").replace("_", " ") + " Dice")


def _metrics(method: Mapping[str, Any]) -> dict[str, float]:
    outline, similarity = method["outline"], method["similarity"]
    classes = method.get("segmentation", {}).get(INDEPENDENT, {}).get("classes", {})
    metrics = {
        "outline_dice": outline["dice"]["mean"],
        **{f"dice_{name}": found["dice"] for name, found in classes.items()},
        "painted_as_air": outline["painted_as_air"]["mean"],
        "invisible": outline["invisible"]["mean"],
        "ssim": similarity["slice"]["ssim"]["mean"],
        "body_ssim": similarity["body"]["ssim"]["mean"],
        "psnr": similarity["slice"]["psnr"]["mean"],
    }
    # Undefined values are null in JSON, such as the PSNR of the true image.
    return {name: float("nan") if value is None else value for name, value in metrics.items()}


def _is_true_image(method: Mapping[str, Any]) -> bool:
    # Evaluations of earlier versions have other text in the brackets.
    return method["name"].partition(" (")[0] == TRUE_IMAGE.partition(" (")[0]


def _as_json(row: StudyRow) -> dict[str, Any]:
    """Content of `results.json`, which calls the metrics `figures`."""
    return {"figures" if key == "metrics" else key: value for key, value in asdict(row).items()}


def _cell(name: str, values: Sequence[float]) -> str:
    each = ", ".join(_number(name, value) for value in values)
    return f"**{_number(name, float(np.mean(values)))}** ({each})"


def _number(name: str, value: float) -> str:
    if not np.isfinite(value):
        return ""
    if name in ("painted_as_air", "invisible"):
        return f"{100 * value:.1f} %"
    return f"{value:.1f}" if name == "psnr" else f"{value:.3f}"


def _draw(axes: Any, rows: Sequence[StudyRow], name: str) -> None:
    for mask, colour in _COLOURS.items():
        lines: dict[int, dict[int, float]] = {}
        for row in rows:
            if row.mask == mask:
                lines.setdefault(row.seed, {})[row.steps] = row.metrics[name]
        for line in lines.values():
            axes.plot(list(line), list(line.values()), color=colour, lw=0.7, alpha=0.5)
        steps = sorted({count for line in lines.values() for count in line})
        means = [
            np.mean([line[count] for line in lines.values() if count in line]) for count in steps
        ]
        axes.plot(steps, means, color=colour, lw=2.2, marker="o", ms=4, label=f"mask loss {mask}")
    true = rows[0].true_image[name]
    if np.isfinite(true):
        axes.axhline(true, color="#5b6673", lw=1, ls="--", label="true image")
    axes.set_title(title(name), fontsize=10, loc="left")
    axes.set_xticks(sorted({row.steps for row in rows}))
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)

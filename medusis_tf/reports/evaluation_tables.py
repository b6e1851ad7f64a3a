"""The tables of an evaluation, as lines of text: for the console, and for the report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class EvaluationTable:
    """A table: a line for each method.

    Attributes:
        title: Above it.
        columns: After the method's name.
        rows: Method's name, and a cell for each column.
        notes: Below it: what the figures are.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]
    notes: Sequence[str] = ()


def evaluation_tables(content: Figures) -> list[EvaluationTable]:
    """All tables of what `metrics.json` holds; those of absent figures are left out."""
    makers = (_similarity, _perceptual, _shapes, _segmentation, _distributions, _volumes, _thesis)
    tables = [table for maker in makers for table in maker(content)]
    return [table for table in tables if table.rows]


def print_evaluation(content: Figures) -> None:
    """Print the tables, as wide as the terminal, or wide enough where there is none."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    for each in evaluation_tables(content):
        table = Table(
            title=each.title, title_justify="left", caption="\n".join(each.notes),
            caption_justify="left",
        )  # fmt: skip
        table.add_column("method", overflow="fold")
        for column in each.columns:
            table.add_column(column, justify="right", no_wrap=True)
        for name, cells in each.rows:
            table.add_row(name, *cells)
        console.print(table)


def number(value: float | None, digits: int = 3) -> str:
    """A figure as text; a dash where there is none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:.{digits}f}"


def summary_cell(summary: Figures | None, digits: int = 3) -> str:
    """Mean, and the interval where there are patients enough for one."""
    if summary is None:
        return "-"
    text = number(summary["mean"], digits)
    low, high = summary["low"], summary["high"]
    has_interval = low is not None and not math.isnan(low)
    return f"{text} [{number(low, digits)}, {number(high, digits)}]" if has_interval else text


def _similarity(content: Figures) -> Iterable[EvaluationTable]:
    columns = [("ssim", "SSIM", 3), ("ms_ssim", "MS-SSIM", 3), ("psnr", "PSNR dB", 2),
               ("rmse", "RMSE", 3), ("mae", "MAE", 3)]  # fmt: skip
    data, protocol = content["data"], content["protocol"]
    notes = [
        f"{data['paired_slices']} slices of {data['paired_patients']} patients with a true image; "
        f"pairing in training: {data['pairing']}; seeds {content['seeds']}",
        f"mean {protocol['mean']}; [{protocol['interval']}]",
        f"data range {protocol['data_range']:g}: intensities {protocol['intensities']}",
    ]
    for part, title in (("slice", "whole slice"), ("body", "inside the body")):
        shown = [column for column in columns if part == "slice" or column[0] != "ms_ssim"]
        rows = [
            (each["name"], [summary_cell(each["similarity"][part].get(key), digits)
                            for key, _, digits in shown])
            for each in content["methods"] if "similarity" in each
        ]  # fmt: skip
        yield EvaluationTable(
            f"Similarity to the true image, {title}", [title for _, title, _ in shown], rows, notes
        )


def _perceptual(content: Figures) -> Iterable[EvaluationTable]:
    methods = [each for each in content["methods"] if "perceptual" in each]
    for name in methods[0]["perceptual"] if methods else ():
        rows = [
            (each["name"], [summary_cell(each["perceptual"][name][key])
                            for key in ("lpips", "lpips_thesis_protocol")])
            for each in methods
        ]  # fmt: skip
        note = "weights: " + ", ".join(
            f"{key} {value[:12]}"
            for key, value in methods[0]["perceptual"][name]["identity"].items()
        )
        yield EvaluationTable(
            f"LPIPS over {name}", ["LPIPS", "LPIPS fed [0, 1] (thesis protocol)"], rows, [note]
        )


def _shapes(content: Figures) -> Iterable[EvaluationTable]:
    levels = content["protocol"]["grey_levels"]
    columns = ("dice", "pooled_dice", "painted_as_air", "invisible")
    rows = [
        (each["name"], [summary_cell(each["outline"][key]) for key in columns])
        for each in content["methods"] if "outline" in each
    ]  # fmt: skip
    notes = [
        "outline: body by three-level Otsu on each picture, holes filled, against the label map's; "
        "pooled over pixels",
        f"as air: share of the body below {levels['air']:.2f}; invisible: from there to "
        f"{levels['dark_tissue']:.2f}, darker than the darkest soft tissue of the real images",
    ]
    titles = ["outline Dice", "pooled Dice", "painted as air", "invisible grey"]
    yield EvaluationTable("Outline of the body", titles, rows, notes)


def _segmentation(content: Figures) -> Iterable[EvaluationTable]:
    methods = [each for each in content["methods"] if "segmentation" in each]
    for name in methods[0]["segmentation"] if methods else ():
        rows = []
        for each in methods:
            found = each["segmentation"][name]
            distances = [
                row["hd95_mm"]["mean"] for row in found["classes"].values() if row["hd95_mm"]
            ]
            mean = sum(distances) / len(distances) if distances else None
            cells = [number(found["mean_dice"]), number(found["mean_iou"]), number(mean, 1)]
            rows.append((each["name"], cells))
        notes = ["over all pixels of the data set, mean of the classes that occur; HD95 of slices"]
        yield EvaluationTable(
            f"Classes found by: {name}", ["mean Dice", "mean IoU", "mean HD95 mm"], rows, notes
        )


def _distributions(content: Figures) -> Iterable[EvaluationTable]:
    methods = [each for each in content["methods"] if "distribution" in each]
    names = dict.fromkeys(name for each in methods for name in each["distribution"])
    for name in names:
        having = [each for each in methods if name in each["distribution"]]
        found = [(each["name"], each["distribution"][name]) for each in having]
        yield _pyramid(found) if name == "sliced_wasserstein" else _features(name, found)


def _pyramid(found: Sequence[tuple[str, Figures]]) -> EvaluationTable:
    levels = range(len(found[0][1]["levels"]))
    rows = [
        (name, [number(value, 1) for value in (*each["levels"], each["mean"])])
        for name, each in found
    ]
    notes = ["times 1000, level 1 the finest; 0 for equal sets"]
    columns = [f"level {level + 1}" for level in levels] + ["mean"]
    return EvaluationTable("Sliced Wasserstein distance of patches", columns, rows, notes)


def _features(name: str, found: Sequence[tuple[str, Figures]]) -> EvaluationTable:
    first = found[0][1]
    rows = []
    for method, each in found:
        kernel, manifold = each.get("kernel_distance"), each.get("manifold", {})
        cells = [number(each.get("frechet_distance"), 2)]
        error = "" if not kernel or math.isnan(kernel["standard_error"]) else (
            f" ± {1.96 * kernel['standard_error']:.4f}")  # fmt: skip
        cells.append(number(kernel["mean"], 4) + error if kernel else "-")
        parts = ("precision", "recall", "density", "coverage")
        cells += [number(manifold.get(part)) for part in parts]
        cells.append(str(each["synthetic_slices"]))
        rows.append((method, cells))
    notes = [
        f"{first['frechet_name']}: against {first['real_slices']} real slices of the split; "
        + ", ".join(f"{key} {str(value)[:16]}" for key, value in first["identity"].items()),
    ]
    if not first.get("full_rank", True):
        notes.append(
            f"fewer slices than the {first['dimension']} features: the covariances have no full "
            "rank and the distance is too large; compare it with distances of as many slices only"
        )
    columns = [first["frechet_name"], "kernel distance", "precision", "recall", "density",
               "coverage", "slices"]  # fmt: skip
    return EvaluationTable(f"Distance to the real images: {name} features", columns, rows, notes)


def _volumes(content: Figures) -> Iterable[EvaluationTable]:
    rows = [
        (each["name"], [summary_cell(each["volume_consistency"].get(key), 4)
                        for key in ("brightness_jump", "pixel_jump")])
        for each in content["methods"] if "volume_consistency" in each
    ]  # fmt: skip
    notes = ["between neighbouring slices, inside the body, intensities in [0, 1]"]
    yield EvaluationTable("Jumps from slice to slice", ["brightness", "pixels"], rows, notes)


def _thesis(content: Figures) -> Iterable[EvaluationTable]:
    methods = [each for each in content["methods"] if "thesis_protocol" in each]
    rows = [
        (each["name"], [number(each["thesis_protocol"][key], digits)
                        for key, digits in (("ssim", 4), ("psnr", 2), ("rmse", 3))])
        for each in methods
    ]  # fmt: skip
    notes = [
        "only to compare with the thesis's tables: SSIM with data range 255 on [0, 1] is a rescaled "
        "squared error, PSNR and RMSE are those of batches of 20 slices"
    ]
    columns = ["SSIM (range 255)", "PSNR of batches dB", "RMSE of batches"]
    yield EvaluationTable("Thesis protocol", columns, rows, notes)

"""Files of the results: results.json, results.csv, results.png and report.html."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medusis_tf.config.taxonomy import ClassEntry
from medusis_tf.panels import PanelRow, colour_labels, panel, write_png
from medusis_tf.reports.data_url import data_url
from medusis_tf.reports.formatting import strict_json, template_environment
from medusis_tf.studies.downstream.rows import REAL, SOURCES, STARTS, SYNTHETIC, Row
from medusis_tf.studies.downstream.store import StudyStore
from medusis_tf.studies.downstream.study import TEST
from medusis_tf.studies.downstream.summary import Result, RowScores, as_content, collect
from medusis_tf.studies.downstream.tables import csv_text, study_tables, study_verdicts

_DPI = 100
_COLOURS = {None: "#5b6673", "mixture": "#c2571a", SYNTHETIC: "#1f6fb2"}
_BOUND_COLOUR = "#2b8a4b"


def write_study(
    store: StudyStore,
    results: Sequence[Result],
    classes: Sequence[ClassEntry],
    about: Mapping[str, Any],
) -> list[Path]:
    """Write all files of the results.

    Args:
        store: Folder of the study.
        results: Finished results.
        classes: Coarse classes.
        about: Title, data and settings, for results.json and the report.

    Raises:
        UserError: A file cannot be written.
    """
    rows = collect(results)
    image = study_plot(rows)
    write_png(store.folder / "results.png", image)
    content = {"format_version": 1, **about, **as_content(rows)}
    return [
        store.write("results.csv", csv_text(results)),
        store.write("report.html", _render(store, rows, classes, about, image)),
        store.write("results.json", strict_json(content)),
    ]


def study_plot(rows: Mapping[str, RowScores]) -> np.ndarray:
    """Mean Dice of every training set with each patient, and Dice against labelled patients.

    Args:
        rows: Scores by the key of the row.

    Returns:
        `[height, width, 3]` uint8.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    single = [each for each in rows.values() if not each.row.is_fine_tuning]
    columns = 1 + (len(single) < len(rows))
    figure = Figure(figsize=(6 * columns, 4), dpi=_DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    left, *others = figure.subplots(1, columns, sharey=True, squeeze=False)[0]
    _draw_rows(left, single)
    for right in others:
        _draw_fine_tuning(right, rows)
    for axes in (left, *others):
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_ylabel("mean Dice on real MR", fontsize=9)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _draw_rows(axes: Any, single: Sequence[RowScores]) -> None:
    for place, each in enumerate(single):
        colour = _BOUND_COLOUR if each.row.source == REAL else _COLOURS.get(each.row.key, "#8a94a0")
        axes.bar(place, each.mean_dice, color=colour, alpha=0.35, width=0.6)
        count = len(each.patients)
        spread = (np.arange(count) - (count - 1) / 2) * 0.3 / count
        axes.plot(place + spread, each.by_patient, "o", color=colour, ms=4)
    titles = [each.row.short_title.replace(" ", "\n") for each in single]
    axes.set_xticks(range(len(single)), titles)
    axes.set_title("training set (bars: mean, dots: patients)", fontsize=10, loc="left")


def _draw_fine_tuning(axes: Any, rows: Mapping[str, RowScores]) -> None:
    counts = sorted({e.row.patients for e in rows.values() if e.row.patients is not None})
    for start in STARTS:
        points = {n: rows[key] for n in counts if (key := Row(REAL, n, start).key) in rows}
        if start is not None and start in rows and points:
            points = {0: rows[start], **points}
        if points:
            values = [each.mean_dice for each in points.values()]
            title = "no pre-training" if start is None else SOURCES[start]
            axes.plot(list(points), values, marker="o", ms=4, color=_COLOURS[start], label=title)
            for number, each in points.items():
                axes.plot([number] * len(each.by_seed), each.by_seed, "_", color=_COLOURS[start])
    if REAL in rows:
        bound = rows[REAL]
        axes.axhline(bound.mean_dice, color=_BOUND_COLOUR, lw=1, ls="--", label=bound.row.title)
    axes.set_xticks([0, *counts])
    axes.set_title("pre-training (lines: mean, dashes: seeds)", fontsize=10, loc="left")
    axes.set_xlabel("real labelled patients", fontsize=9)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8)


def _render(
    store: StudyStore,
    rows: Mapping[str, RowScores],
    classes: Sequence[ClassEntry],
    about: Mapping[str, Any],
    plot: np.ndarray,
) -> str:
    panels = [
        (title, _url(image))
        for title, image in (
            ("Training sets", training_panel(store, rows, classes)),
            ("Classes found in real MR", found_panel(store, rows, classes)),
        )
        if image is not None
    ]
    return (
        template_environment("studies/downstream")
        .get_template("report.html.jinja")
        .render(
            about=about,
            tables=study_tables(rows),
            verdicts=study_verdicts(rows),
            plot=_url(plot),
            panels=panels,
        )
    )


def training_panel(
    store: StudyStore, rows: Mapping[str, RowScores], classes: Sequence[ClassEntry]
) -> np.ndarray | None:
    """Slices of every training set with their label maps; None if none were kept."""
    lines = []
    for each in rows.values():
        found = None if each.row.is_fine_tuning else store.examples(each.row.key, len(classes))
        if found is not None:
            label_maps, images = found["label_map"], found["image"]
            columns = {"image": images[0]}
            for place in range(1, len(images)):
                columns[f"label map {place + 1}"] = _coloured(label_maps[place], classes)
                columns[f"image {place + 1}"] = images[place]
            lines.append(PanelRow(label_maps[0], columns, each.row.short_title))
    # A very small training set has fewer slices to show.
    widest = max((len(line.images) for line in lines), default=0)
    lines = [line for line in lines if len(line.images) == widest]
    return panel(lines, classes) if lines else None


def found_panel(
    store: StudyStore, rows: Mapping[str, RowScores], classes: Sequence[ClassEntry]
) -> np.ndarray | None:
    """Real slices, their label maps and the classes found by each segmenter; None if none."""
    test = store.examples(TEST, len(classes))
    kept = {}
    for each in rows.values():
        shown = None if each.row.is_fine_tuning else store.examples(each.row.key, len(classes))
        # Of other slices, or of none, if the file was replaced.
        found = None if shown is None else shown.get("found")
        if found is not None and test is not None and found.shape == test["image"].shape:
            kept[each.row] = found
    if test is None or not kept:
        return None
    lines = []
    for place, label_map in enumerate(test["label_map"]):
        columns = {"real MR": test["image"][place]}
        for row, found in kept.items():
            columns[row.short_title] = _coloured(found[place], classes)
        lines.append(PanelRow(label_map, columns))
    return panel(lines, classes)


def _coloured(label_map: np.ndarray, classes: Sequence[ClassEntry]) -> np.ndarray:
    """Colours in [-1, 1], as an image of three channels."""
    return colour_labels(label_map, classes).astype(np.float32) / 127.5 - 1


def _url(image: np.ndarray) -> str:
    from PIL import Image

    return data_url(Image.fromarray(image), "PNG", optimize=True)

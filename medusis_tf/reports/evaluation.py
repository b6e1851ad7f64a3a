"""Write down an evaluation: a table to read, a JSON file to compute with, a panel to look at."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medusis_tf.errors import UserError
from medusis_tf.metrics.evaluation import TRAINING_MEANS, TRUE_IMAGE, synthesis
from medusis_tf.metrics.paired import Agreement, PairedSubject
from medusis_tf.metrics.similarity import DATA_RANGE, Similarity
from medusis_tf.reports.panels import PanelRow, panel

if TYPE_CHECKING:
    from rich.table import Table

    from medusis_tf.metrics.evaluation import Evaluation

NUM_PANEL_ROWS = 4
NUM_PANEL_NOISES = 3
_INTENSITIES = "scaled to [0, 1] by the percentiles of each volume, clipped"
_MEAN = "over slices, then over subjects; body: label map not 0"


def print_evaluation(evaluation: Evaluation) -> None:
    """Print the tables, as wide as the terminal, or wide enough where there is none."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(evaluation_table(evaluation))
    console.print(shape_table(evaluation))


def evaluation_table(evaluation: Evaluation) -> Table:
    """A table with a line for each method, and for each subject where there are several."""
    from rich.table import Table

    title = f"{evaluation.judged.title}: {evaluation.split} split, seed {evaluation.seed}"
    caption = f"data range {DATA_RANGE:g}: intensities {_INTENSITIES}\nmean {_MEAN}"
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    table.add_column("method", overflow="fold")
    for region in ("slice", "body"):
        for figure in ("SSIM", "PSNR dB", "RMSE", "MAE"):
            table.add_column(f"{region}\n{figure}", justify="right", no_wrap=True)
    for name, result in evaluation.results.items():
        table.add_row(name, *_cells(result.mean.whole), *_cells(result.mean.body))
        if len(result.subjects) > 1:
            for subject, found in result.subjects.items():
                table.add_row(f"  {subject}", *_cells(found.whole), *_cells(found.body))
    return table


def shape_table(evaluation: Evaluation) -> Table:
    """A table of what the pictures show of the label maps' shapes; lines as in the other table."""
    from rich.table import Table

    classes = list(evaluation.results[TRUE_IMAGE].mean.class_dice)
    table = Table(
        title="shapes: what the picture shows of the label map's body",
        title_justify="left",
        caption="\n".join(_shape_notes(evaluation)),
        caption_justify="left",
    )
    table.add_column("method", overflow="fold")
    headers = ["outline\nDice", "outline\npooled", "painted\nas air", "invisible\ngrey"]
    for header in headers + [f"{name}\nDice" for name in classes]:
        table.add_column(header, justify="right", no_wrap=True)
    for name, result in evaluation.results.items():
        table.add_row(name, *_shape_cells(result.mean, classes))
        if len(result.subjects) > 1:
            for subject, found in result.subjects.items():
                table.add_row(f"  {subject}", *_shape_cells(found, classes))
    return table


def write_evaluation(path: Path, evaluation: Evaluation) -> None:
    """Write an evaluation as JSON; the file appears whole, or not at all.

    A figure that does not exist (infinite PSNR of equal images, no body in any slice) is null.

    Args:
        path: Its folder is made if need be.
        evaluation: What to write.

    Raises:
        UserError: The file cannot be written.
    """
    metadata = evaluation.judged.painter.metadata
    methods = [{"name": name, **asdict(result)} for name, result in evaluation.results.items()]
    content = {
        "format_version": 1,
        "model": {
            "name": metadata.name,
            "step": metadata.step,
            "source": str(evaluation.judged.source),
        },
        "split": evaluation.split,
        "seed": evaluation.seed,
        "data_range": DATA_RANGE,
        "intensities": _INTENSITIES,
        "mean": _MEAN,
        "grey_levels": asdict(evaluation.rules.levels),
        "shapes": _shape_notes(evaluation),
        "methods": methods,
    }
    temporary = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(_finite(content), indent=2, allow_nan=False))
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}. Choose another place with --out."
        ) from None


def evaluation_panel(evaluation: Evaluation) -> np.ndarray:
    """A panel of slices spread over the subjects.

    Beside the real image stand the synthetic one with the noise that was evaluated and with two
    others, and the class means of the training pairs where there are any.

    Returns:
        `[height, width, 3]` uint8.
    """
    painter = evaluation.judged.painter
    seeds = range(evaluation.seed, evaluation.seed + NUM_PANEL_NOISES)
    columns = {f"synthetic MR, seed {seed}": synthesis(painter, seed) for seed in seeds}
    if TRAINING_MEANS in evaluation.methods:
        columns["class means"] = evaluation.methods[TRAINING_MEANS]
    rows = []
    for subject, place in _spread(evaluation.subjects):
        one = replace(
            subject,
            label_map=subject.label_map[place : place + 1],
            image=subject.image[place : place + 1],
        )
        images = {"real MR": one.image[0]}
        images |= {name: method(one)[0] for name, method in columns.items()}
        row_title = f"{subject.name}, slice {subject.slice_indices[place]}"
        rows.append(PanelRow(one.label_map[0], images, row_title))
    title = f"{evaluation.judged.title}: {evaluation.split} split"
    return panel(rows, evaluation.judged.config.data.classes, title)


def _spread(subjects: Sequence[PairedSubject]) -> list[tuple[PairedSubject, int]]:
    # Evenly over all slices of all subjects, the outermost left out.
    places = [(subject, i) for subject in subjects for i in range(len(subject.label_map))]
    count = min(NUM_PANEL_ROWS, len(places))
    return [places[(2 * row + 1) * len(places) // (2 * count)] for row in range(count)]


def _cells(found: Similarity) -> list[str]:
    return [f"{found.ssim:.3f}", f"{found.psnr:.2f}", f"{found.rmse:.3f}", f"{found.mae:.3f}"]


def _shape_cells(found: Agreement, classes: Sequence[str]) -> list[str]:
    outline = found.outline
    dice = [found.class_dice.get(name, math.nan) for name in classes]
    shares = [f"{100 * share:.1f} %" for share in (outline.painted_as_air, outline.invisible)]
    return [
        f"{outline.dice:.3f}",
        f"{outline.pooled_dice:.3f}",
        *shares,
        *(f"{value:.3f}" for value in dice),
    ]


def _shape_notes(evaluation: Evaluation) -> list[str]:
    levels = evaluation.rules.levels
    notes = [
        "outline Dice: body by three-level Otsu on each picture, holes filled, against the label "
        "map's; mean over slices, pooled over pixels",
        f"as air: share of the label map's body below {levels.air:.2f}; invisible grey: from there "
        f"to {levels.dark_tissue:.2f}, below the darkest soft tissue of the real images",
    ]
    if evaluation.rules.read_classes is not None:
        notes.append(
            "class Dice: as an independent segmenter reads the picture; pooled over slices"
        )
    return notes


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

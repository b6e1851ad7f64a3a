"""The images of an evaluation report: sample slices, errors and confusion matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from medusis_tf.config.data import ClassEntry
from medusis_tf.data.shards.labelled_subjects import LabelledSubject, LabelledSubjects
from medusis_tf.data.shards.spread import spread_centres
from medusis_tf.metrics.similarity import to_unit_range
from medusis_tf.panels import Images, PanelRow, panel

if TYPE_CHECKING:
    from medusis_tf.evaluation.evaluation import Evaluation

NUM_ROWS = 6
NUM_NOISES = 3
LARGEST_ERROR = 0.5
# Up to this number of classes, the fractions are written into the confusion matrix.
_LARGEST_WRITTEN = 16


def sample_panel(evaluation: Evaluation, classes: list[ClassEntry]) -> np.ndarray:
    """Draw slices of all subjects: label map, real image, images of three noises, error map.

    The error map shows the absolute error of the first image, intensities in [0, 1]: black for 0
    and bright yellow for 0.5 and more; grey without a real image.

    Args:
        evaluation: Evaluation, whose first painter is drawn.
        classes: Class table.

    Returns:
        `[height, width, 3]` uint8.
    """
    painter = evaluation.painters[0]
    first = evaluation.seeds[0]
    seeds = range(first, first + (NUM_NOISES if painter.is_random else 1))
    rows = []
    for subject in _spread(evaluation.subjects):
        painted = {f"synthetic, seed {seed}": painter.paint(subject, seed)[0] for seed in seeds}
        true_image = None if subject.image is None else subject.image[0]
        error = None
        if true_image is not None:
            error = error_map(next(iter(painted.values())), true_image)
        images: Images = {"real MR": true_image, **painted, "absolute error": error}
        title = f"{subject.name}, slice {subject.slice_indices[0]}"
        rows.append(PanelRow(subject.label_map[0], images, title))
    return panel(rows, classes, f"{evaluation.title}: {evaluation.content['data']['split']} split")


def error_map(image: np.ndarray, true_image: np.ndarray) -> np.ndarray:
    """Absolute error in colours, for a panel.

    Args:
        image: `[height, width]` in [-1, 1].
        true_image: Same shape and range.

    Returns:
        `[height, width, 3]` in [-1, 1].
    """
    from matplotlib import colormaps

    error = np.abs(to_unit_range(image) - to_unit_range(true_image))
    return 2 * colormaps["inferno"](np.minimum(error / LARGEST_ERROR, 1))[..., :3] - 1


def grey_image(image: np.ndarray) -> np.ndarray:
    """Convert a slice in [-1, 1] to uint8; -1 is black."""
    return np.round(255 * to_unit_range(image.astype(np.float32))).astype(np.uint8)


def confusion_image(pixels: np.ndarray, names: list[str]) -> np.ndarray:
    """Draw a confusion matrix as a heat map: fractions of each class of the label map.

    Args:
        pixels: `[K, K]` counts, rows: label map.
        names: Names of the classes.

    Returns:
        `[height, width, 3]` uint8.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    present = np.flatnonzero(pixels.sum(axis=1) + pixels.sum(axis=0))
    fractions = pixels[np.ix_(present, present)] / np.maximum(
        pixels[present].sum(axis=1, keepdims=True), 1
    )
    side = 2 + (0.55 if len(present) <= _LARGEST_WRITTEN else 0.3) * len(present)
    figure = Figure(figsize=(side, side), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(fractions, vmin=0, vmax=1, cmap="Blues")
    if len(present) <= _LARGEST_WRITTEN:
        for (row, column), value in np.ndenumerate(fractions):
            colour = "white" if value > 0.5 else "black"
            axes.text(
                column, row, f"{value:.2f}", color=colour, fontsize=8, ha="center", va="center"
            )
    labels = [names[place] for place in present.tolist()]
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8, parse_math=False)
    axes.set_yticks(range(len(labels)), labels, fontsize=8, parse_math=False)
    axes.set_xlabel("found in the image")
    axes.set_ylabel("label map")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _spread(subjects: LabelledSubjects) -> list[LabelledSubject]:
    """Subjects of one slice each, spread evenly over all slices."""
    ends = np.cumsum([record.num_slices for record in subjects.records])
    found = []
    for place in spread_centres(NUM_ROWS, int(ends[-1])).tolist():
        number = int(np.searchsorted(ends, place, side="right"))
        record = subjects.records[number]
        within = place - int(ends[number] - record.num_slices)
        found.append(subjects.read(record).one(within))
    return found

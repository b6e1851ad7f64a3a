"""Write an evaluation down: `metrics.json` to compute with, `report.html` to read."""

from __future__ import annotations

import base64
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medusis_tf.config.data import ClassEntry
from medusis_tf.data.shards.labelled_subjects import LabelledSubject, LabelledSubjects
from medusis_tf.errors import UserError
from medusis_tf.metrics.similarity import to_unit_range
from medusis_tf.panels import Images, PanelRow, panel
from medusis_tf.reports.evaluation.table import class_table
from medusis_tf.reports.evaluation.tables import evaluation_tables
from medusis_tf.reports.evaluation.verdicts import verdicts
from medusis_tf.reports.formatting import strict_json, template_environment

if TYPE_CHECKING:
    from medusis_tf.evaluation.audit import NearestPair
    from medusis_tf.evaluation.evaluation import Evaluation

METRICS = "metrics.json"
REPORT = "report.html"
_TEMPLATE = "evaluation_report.html.jinja"
_JPEG_QUALITY = 88


def write_evaluation(folder: Path, evaluation: Evaluation) -> list[Path]:
    """Write both files, the figures last; each appears whole, or not at all.

    In `metrics.json` a figure that does not exist (infinite PSNR of equal images, a class that
    nobody has) is null.

    Args:
        folder: Made if need be.
        evaluation: What to write.

    Returns:
        The files.

    Raises:
        UserError: They cannot be written.
    """
    make_folder(folder)
    pages = {REPORT: _render(evaluation), METRICS: strict_json(evaluation.content)}
    try:
        for name, text in pages.items():
            temporary = folder / f"{name}.partial"
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(folder / name)
    except OSError as error:
        raise _unwritable(folder, error) from None
    return [folder / name for name in pages]


def make_folder(folder: Path) -> None:
    """Make the folder of an evaluation, if need be.

    Raises:
        UserError: It cannot be made, or nothing can be written to it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from None


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot write to {folder}: {error.strerror}. Choose another place with --out."
    )


def _render(evaluation: Evaluation) -> str:
    classes = list(evaluation.classes)
    audited = evaluation.audit
    return (
        template_environment()
        .get_template(_TEMPLATE)
        .render(
            content=evaluation.content,
            tables=evaluation_tables(evaluation.content),
            verdicts=verdicts(evaluation.content),
            class_table=class_table(evaluation.content, classes),
            colours={entry.name: "#{:02x}{:02x}{:02x}".format(*entry.colour) for entry in classes},
            samples=_address(sample_panel(evaluation, classes)),
            confusions=_confusions(evaluation),
            nearest=[] if audited is None else [_nearest(pair) for pair in audited.pairs],
        )
    )


def _confusions(evaluation: Evaluation) -> list[tuple[str, str]]:
    """What each segmenter is called, and the address of its picture."""
    found = evaluation.content["methods"][0].get("segmentation", {})
    return [
        (
            name,
            _address(
                confusion_picture(
                    np.array(each["confusion"]["pixels"]), each["confusion"]["classes"]
                ),
                "PNG",
            ),
        )
        for name, each in found.items()
    ]


def _nearest(pair: NearestPair) -> dict[str, Any]:
    pictures = {
        name: _address(grey_picture(image))
        for name, image in (("synthetic", pair.synthetic), ("training", pair.training))
    }
    return {"pair": pair, **pictures}


def _address(picture: np.ndarray, kind: Literal["JPEG", "PNG"] = "JPEG") -> str:
    from PIL import Image

    buffer = io.BytesIO()
    options = {"quality": _JPEG_QUALITY, "subsampling": 0} if kind == "JPEG" else {"optimize": True}
    Image.fromarray(picture).save(buffer, kind, **options)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{encoded}"


NUM_ROWS = 6
NUM_NOISES = 3
LARGEST_ERROR = 0.5
# Up to so many classes the shares are written into the confusion matrix.
_LARGEST_WRITTEN = 16


def sample_panel(evaluation: Evaluation, classes: list[ClassEntry]) -> np.ndarray:
    """Slices spread over the subjects: label map, real image, pictures of three noises, MAE map.

    The map is the absolute error of the first picture, intensities in [0, 1], black for 0 and
    bright yellow for 0.5 and more; grey where there is no true image.

    Returns:
        `[height, width, 3]` uint8.
    """
    method = evaluation.methods[0]
    first = evaluation.seeds[0]
    seeds = range(first, first + (NUM_NOISES if method.is_random else 1))
    rows = []
    for subject in _spread(evaluation.subjects):
        pictures = {f"synthetic, seed {seed}": method.paint(subject, seed)[0] for seed in seeds}
        true_image = None if subject.image is None else subject.image[0]
        error = None
        if true_image is not None:
            error = error_map(next(iter(pictures.values())), true_image)
        images: Images = {"real MR": true_image, **pictures, "absolute error": error}
        title = f"{subject.name}, slice {subject.slice_indices[0]}"
        rows.append(PanelRow(subject.label_map[0], images, title))
    return panel(rows, classes, f"{evaluation.title}: {evaluation.content['data']['split']} split")


def error_map(picture: np.ndarray, true_image: np.ndarray) -> np.ndarray:
    """Absolute error in colours.

    Args:
        picture: `[height, width]` in [-1, 1].
        true_image: The same.

    Returns:
        `[height, width, 3]` in [-1, 1], for a panel.
    """
    from matplotlib import colormaps

    error = np.abs(to_unit_range(picture) - to_unit_range(true_image))
    return 2 * colormaps["inferno"](np.minimum(error / LARGEST_ERROR, 1))[..., :3] - 1


def grey_picture(image: np.ndarray) -> np.ndarray:
    """A slice, `[height, width]` in [-1, 1], as `[height, width]` uint8, -1 black."""
    return np.round(255 * to_unit_range(image.astype(np.float32))).astype(np.uint8)


def confusion_picture(pixels: np.ndarray, names: list[str]) -> np.ndarray:
    """Shares of each class of the label map that are read as each class, as a heat map.

    Args:
        pixels: `[K, K]`, rows: label map.
        names: Of the classes.

    Returns:
        `[height, width, 3]` uint8.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    present = np.flatnonzero(pixels.sum(axis=1) + pixels.sum(axis=0))
    shares = pixels[np.ix_(present, present)] / np.maximum(
        pixels[present].sum(axis=1, keepdims=True), 1
    )
    side = 2 + (0.55 if len(present) <= _LARGEST_WRITTEN else 0.3) * len(present)
    figure = Figure(figsize=(side, side), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    if len(present) <= _LARGEST_WRITTEN:
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share > 0.5 else "black"
            axes.text(
                column, row, f"{share:.2f}", color=colour, fontsize=8, ha="center", va="center"
            )
    labels = [names[place] for place in present.tolist()]
    axes.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8, parse_math=False)
    axes.set_yticks(range(len(labels)), labels, fontsize=8, parse_math=False)
    axes.set_xlabel("read in the picture")
    axes.set_ylabel("label map")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _spread(subjects: LabelledSubjects) -> list[LabelledSubject]:
    """Subjects of one slice each, evenly over all slices of all, the outermost left out."""
    ends = np.cumsum([record.num_slices for record in subjects.records])
    count = min(NUM_ROWS, int(ends[-1]))
    places = [(2 * row + 1) * int(ends[-1]) // (2 * count) for row in range(count)]
    found = []
    for place in places:
        number = int(np.searchsorted(ends, place, side="right"))
        record = subjects.records[number]
        within = place - int(ends[number] - record.num_slices)
        found.append(subjects.read(record).one(within))
    return found

"""A gallery of a model's images: PNG files of each subject and of failures, and one HTML page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medusis_tf.config.data import Split
from medusis_tf.data.shards.labelled_subjects import LabelledSubject, LabelledSubjects
from medusis_tf.data.shards.spread import spread_centres
from medusis_tf.errors import UserError
from medusis_tf.evaluation.evaluated_model import EvaluatedModel
from medusis_tf.evaluation.painters import mean_painters
from medusis_tf.metrics.overlap import ConfusionMatrix
from medusis_tf.metrics.segmentation import FindClasses
from medusis_tf.metrics.similarity import compare_slices
from medusis_tf.panels import Images, PanelRow, panel, write_png
from medusis_tf.reports.cuts import cut, cut_rows
from medusis_tf.reports.evaluation.images import error_map
from medusis_tf.reports.formatting import template_environment, write_page
from medusis_tf.written_files import foreign_files, listed, record_files

PAGE = "gallery.html"
FAILURES = "failures.png"
_TEMPLATE = "gallery.html.jinja"


@dataclass(frozen=True)
class GalleryOptions:
    """What a gallery shows.

    Attributes:
        split: Split of the subjects.
        seeds: Noise seeds of the samples.
        mean_of: Number of noises of the mean image; 0 for neither it nor the image without noise.
        slices: Slices of each subject.
        cuts: Cuts along the axis of each volume.
        failures: Number of the worst slices of all subjects.
        real_images: Whether real images and errors are shown. They rank the slices in any case.
    """

    split: Split = "test"
    seeds: tuple[int, ...] = (0, 1, 2)
    mean_of: int = 8
    slices: int = 4
    cuts: int = 1
    failures: int = 6
    real_images: bool = True


@dataclass(frozen=True, eq=False)
class _Failure:
    """A bad slice: its score, a subject of one slice, and its title."""

    score: float
    subject: LabelledSubject
    title: str


def write_gallery(
    folder: Path,
    model: EvaluatedModel,
    subjects: LabelledSubjects,
    options: GalleryOptions,
    segmenter: FindClasses | None = None,
) -> list[Path]:
    """Write the gallery of a model.

    Images and page of an earlier gallery in the folder are removed first, so that none with real
    images is left beside one without.

    Args:
        folder: Folder of the files, made if necessary.
        model: Model and configuration of the data.
        subjects: Subjects to paint.
        options: What is shown.
        segmenter: Independent segmenter; failures are the slices with the lowest Dice of what it
            finds. Without it, they are the slices with the lowest SSIM inside the body.

    Returns:
        Paths of the files, the page last.

    Raises:
        UserError: The files cannot be written, or the folder has images or a page that no gallery
            wrote.
    """
    _empty(folder)
    classes, written = model.config.data.classes, []
    failures: list[_Failure] = []
    for subject in subjects:
        places = spread_centres(min(options.slices, len(subject.label_map)), len(subject.label_map))
        rows = [_row(model, subject.one(place), options) for place in places.tolist()]
        rows += _cut_rows(model, subject, options)
        written.append(folder / f"{subject.name}.png")
        write_png(written[-1], panel(rows, classes, f"{model.painter.name}: {subject.name}"))
        record_files(folder, [written[-1].name])
        failures = _worst([*failures, *_scored(model, subject, options, segmenter)], options)
    if failures:
        rows = [_row(model, each.subject, options, each.title) for each in failures]
        written.append(folder / FAILURES)
        write_png(written[-1], panel(rows, classes, f"{model.painter.name}: {_kind(segmenter)}"))
        record_files(folder, [written[-1].name])
    page = _page(model, options, [path.name for path in written], _kind(segmenter))
    write_page(folder / PAGE, page)
    record_files(folder, [PAGE])
    return [*written, folder / PAGE]


def _empty(folder: Path) -> None:
    """Make the folder, and remove the images and the page of an earlier gallery."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = [
            path.name
            for path in sorted(folder.iterdir())
            if path.suffix.lower() == ".png" or path.name == PAGE
        ]
        if foreign := foreign_files(folder, names):
            raise UserError(
                f"{folder} has images or a page that no gallery wrote, or that were changed since: "
                f"{listed(foreign)}. They could show patients. Move them, or choose another folder "
                "with --out."
            )
        for name in names:
            (folder / name).unlink()
    except OSError as error:
        raise UserError(
            f"cannot make {folder}: {error.strerror}. Choose another place with --out."
        ) from None


def class_dice(label_map: np.ndarray, found: np.ndarray) -> float:
    """Mean Dice of the classes of a label map except background; NaN without any.

    Args:
        label_map: `[height, width]` class ids, 0 for background.
        found: Same shape, class ids found in the image.
    """
    matrix = ConfusionMatrix(int(max(label_map.max(), found.max())) + 1)
    matrix.update(label_map, found)
    dices = matrix.dice[[k for k in np.unique(label_map).tolist() if k]]
    return float(dices.mean()) if dices.size else float("nan")


def _row(
    model: EvaluatedModel, subject: LabelledSubject, options: GalleryOptions, title: str = ""
) -> PanelRow:
    """A row of a subject with one slice."""
    painted = {name: images[0] for name, images in _painted(model, subject, options).items()}
    true_image = None if subject.image is None else subject.image[0]
    title = title or f"{subject.name}, slice {subject.slice_indices[0]}"
    return PanelRow(subject.label_map[0], _columns(painted, true_image, options), title)


def _cut_rows(
    model: EvaluatedModel, subject: LabelledSubject, options: GalleryOptions
) -> Iterator[PanelRow]:
    """Rows of a subject with one cut along the axis of the volume each."""
    rows = cut_rows(subject.label_map, options.cuts)
    painted = _painted(model, subject, options) if len(rows) else {}
    for row in rows.tolist():
        images = {name: cut(volume, row, subject) for name, volume in painted.items()}
        true_image = None if subject.image is None else cut(subject.image, row, subject)
        label_map = cut(subject.label_map, row, subject, outside=0)
        title = f"{subject.name}, cut at row {row}"
        yield PanelRow(label_map, _columns(images, true_image, options), title)


def _painted(
    model: EvaluatedModel, subject: LabelledSubject, options: GalleryOptions
) -> dict[str, np.ndarray]:
    """Synthetic images of all slices of a subject, by the title of their column."""
    painter = model.painter
    seeds = options.seeds if painter.is_random else options.seeds[:1]
    painted = {f"sample, seed {seed}": painter.paint(subject, seed) for seed in seeds}
    titles = (f"mean of {options.mean_of}", "without noise")
    means = mean_painters(painter, options.mean_of, options.seeds[0])
    for name, mean in zip(titles, means, strict=False):
        painted[name] = mean.paint(subject, 0)
    return painted


def _columns(
    painted: dict[str, np.ndarray], true_image: np.ndarray | None, options: GalleryOptions
) -> Images:
    """All images of a row, by the title of their column."""
    if not options.real_images:
        return painted
    name, first = next(iter(painted.items()))
    error = None if true_image is None else error_map(first, true_image)
    return {"real MR": true_image, **painted, name.replace("sample", "error"): error}


def _scored(
    model: EvaluatedModel,
    subject: LabelledSubject,
    options: GalleryOptions,
    segmenter: FindClasses | None,
) -> Iterator[_Failure]:
    """All slices of a subject with a score, for the first seed."""
    if not options.failures or (segmenter is None and subject.image is None):
        return
    images = model.painter.paint(subject, options.seeds[0])
    if segmenter is None:
        pairs = compare_slices(subject, images)
        scores = [comparison.inside(label_map != 0).ssim for comparison, label_map in pairs]
    else:
        found = segmenter(subject, images)
        scores = [class_dice(*pair) for pair in zip(subject.label_map, found, strict=True)]
    for place, score in enumerate(scores):
        if np.isfinite(score):
            number = subject.slice_indices[place]
            title = f"{subject.name}, slice {number}: {score:.2f}"
            yield _Failure(score, subject.one(place), title)


def _worst(failures: list[_Failure], options: GalleryOptions) -> list[_Failure]:
    return sorted(failures, key=lambda each: each.score)[: options.failures]


def _kind(segmenter: FindClasses | None) -> str:
    what = "SSIM inside the body" if segmenter is None else "Dice of the independent segmenter"
    return f"the slices with the lowest {what}"


def _page(model: EvaluatedModel, options: GalleryOptions, files: list[str], kind: str) -> str:
    return (
        template_environment()
        .get_template(_TEMPLATE)
        .render(
            name=model.painter.name,
            source=str(model.source),
            configuration=model.config.name,
            options=options,
            files=[name for name in files if name != FAILURES],
            failures=FAILURES if FAILURES in files else None,
            kind=kind,
        )
    )

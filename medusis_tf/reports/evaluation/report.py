"""Write an evaluation: `metrics.json` for programs, `report.html` for readers."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medusis_tf.errors import UserError
from medusis_tf.files import replacing
from medusis_tf.reports.data_url import data_url
from medusis_tf.reports.evaluation.images import confusion_image, grey_image, sample_panel
from medusis_tf.reports.evaluation.tables import class_table, evaluation_tables
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
    """Write the report, and then `metrics.json`; each file is complete or absent.

    In `metrics.json`, values that do not exist are null, such as the infinite PSNR of equal images.

    Args:
        folder: Folder of the files, made if necessary.
        evaluation: Evaluation to write.

    Returns:
        Paths of the files.

    Raises:
        UserError: The files cannot be written.
    """
    make_folder(folder)
    pages = {REPORT: _render(evaluation), METRICS: strict_json(evaluation.content)}
    try:
        for name, text in pages.items():
            with replacing(folder / name) as path:
                path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise _unwritable(folder, error) from None
    return [folder / name for name in pages]


def make_folder(folder: Path) -> None:
    """Make the folder of an evaluation if necessary, and check that it can be written.

    Raises:
        UserError: It cannot be made or written.
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
            samples=_jpeg(sample_panel(evaluation, classes)),
            confusions=_confusions(evaluation),
            nearest=[] if audited is None else [_nearest(pair) for pair in audited.pairs],
        )
    )


def _confusions(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Name of each segmenter, and its confusion matrix as an image."""
    from PIL import Image

    found = evaluation.content["methods"][0].get("segmentation", {})
    images = []
    for name, each in found.items():
        pixels, classes = np.array(each["confusion"]["pixels"]), each["confusion"]["classes"]
        image = Image.fromarray(confusion_image(pixels, classes))
        images.append((name, data_url(image, "PNG", optimize=True)))
    return images


def _nearest(pair: NearestPair) -> dict[str, Any]:
    return {
        "pair": pair,
        "synthetic": _jpeg(grey_image(pair.synthetic)),
        "training": _jpeg(grey_image(pair.training)),
    }


def _jpeg(image: np.ndarray) -> str:
    from PIL import Image

    return data_url(Image.fromarray(image), "JPEG", quality=_JPEG_QUALITY, subsampling=0)

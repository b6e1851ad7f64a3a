"""Write an evaluation down: `metrics.json` to compute with, `report.html` to read."""

from __future__ import annotations

import base64
import io
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medusis_tf.errors import UserError
from medusis_tf.reports.evaluation_class_table import class_table
from medusis_tf.reports.evaluation_pictures import (
    confusion_picture,
    grey_picture,
    sample_panel,
)
from medusis_tf.reports.evaluation_tables import evaluation_tables
from medusis_tf.reports.evaluation_verdicts import verdicts
from medusis_tf.reports.strict_json import strict_json
from medusis_tf.reports.templates import template_environment

if TYPE_CHECKING:
    from medusis_tf.evaluation.audit_model import NearestPair
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

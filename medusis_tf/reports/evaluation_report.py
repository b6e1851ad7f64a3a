"""Write an evaluation down: `metrics.json` to compute with, `report.html` to read."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medusis_tf.errors import UserError
from medusis_tf.reports.evaluation_pictures import (
    confusion_picture,
    nearest_panel,
    sample_panel,
)
from medusis_tf.reports.evaluation_tables import evaluation_tables
from medusis_tf.reports.evaluation_verdicts import verdicts

if TYPE_CHECKING:
    from medusis_tf.evaluation.evaluation import Evaluation

METRICS = "metrics.json"
REPORT = "report.html"
_TEMPLATE = "evaluation_report.html.jinja"
_JPEG_QUALITY = 88


def write_evaluation(folder: Path, evaluation: Evaluation) -> list[Path]:
    """Write both files; each appears whole, or not at all.

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
    metrics = json.dumps(finite(evaluation.content), indent=2, allow_nan=False)
    pages = {METRICS: metrics, REPORT: _render(evaluation)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            temporary = folder / f"{name}.partial"
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(folder / name)
    except OSError as error:
        raise UserError(
            f"cannot write to {folder}: {error.strerror}. Choose another place with --out."
        ) from None
    return [folder / name for name in pages]


def finite(value: Any) -> Any:
    """The same with None for NaN and infinity, which JSON does not know."""
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _render(evaluation: Evaluation) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("medusis_tf", "reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE).render(
        content=evaluation.content,
        tables=evaluation_tables(evaluation.content),
        verdicts=verdicts(evaluation.content),
        classes=_class_rows(evaluation),
        pictures=_pictures(evaluation),
    )


def _class_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """For each class, its colour, similarity, and what segmenters find, of the model."""
    model = evaluation.content["methods"][0]
    similar = model.get("similarity", {}).get("classes", {})
    segmenters = model.get("segmentation", {})
    rows = []
    for entry in evaluation.classes:
        found = {name: each["classes"].get(entry.name) for name, each in segmenters.items()}
        if entry.name in similar or any(found.values()):
            colour = "#{:02x}{:02x}{:02x}".format(*entry.colour)
            rows.append({"name": entry.name, "colour": colour,
                         "similarity": similar.get(entry.name), "found": found})  # fmt: skip
    return rows


def _pictures(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """Heading, what is seen, and address of each picture."""
    classes = list(evaluation.classes)
    found = [
        (
            "Slices",
            "Spread over the subjects; the error is that of the first picture, intensities in "
            "[0, 1], black for 0 and bright for 0.5 and more.",
            sample_panel(evaluation, classes),
        )
    ]
    for name, each in evaluation.content["methods"][0].get("segmentation", {}).items():
        pixels = np.array(each["confusion"]["pixels"])
        picture = confusion_picture(pixels, each["confusion"]["classes"])
        text = "Share of each class of the label maps that is read as each class."
        found.append((f"Confusion: {name}", text, picture))
    if evaluation.audit is not None:
        text = "Synthetic slices and the training slices they are nearest to, the nearest first."
        picture = nearest_panel(list(evaluation.audit.pairs), classes)
        found.append(("Nearest training slices", text, picture))
    return [(title, text, _address(picture)) for title, text, picture in found]


def _address(picture: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")

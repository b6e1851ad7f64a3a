"""Write one HTML file about the appearance of the classes, and print its table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from medusis_tf.data.shards.spread import spread_with_ends
from medusis_tf.reports.data.contact_sheet import contact_sheet
from medusis_tf.reports.formatting import percent, template_environment, write_page

if TYPE_CHECKING:
    from medusis_tf.appearance.appearance import Appearance
    from medusis_tf.config.experiment import ExperimentConfig
    from medusis_tf.data.shards.shards import Shards

_TEMPLATE = "appearance_report.html.jinja"
_MAXIMUM_SHEETS = 20
_WIDTH = 160
_COLUMNS = ("mean", "deviation", "spread", "overlap", "share of the body")


def write_appearance_report(
    appearance: Appearance, config: ExperimentConfig, shards: Shards, path: Path
) -> None:
    """Write a self-contained HTML file. It contains slices of patients.

    Args:
        appearance: The estimate.
        config: Experiment with the class table.
        shards: Prepared slices.
        path: File to write; an existing file is replaced.

    Raises:
        UserError: The file cannot be written.
    """
    images = list(appearance.pseudo_labels)
    content = {
        "name": config.name,
        "contrast": config.appearance.contrast,
        "appearance": appearance,
        "num_labels": len(shards.subjects("train", "label_map")),
        "num_images": len(images),
        "rows": _rows(appearance, config),
        "by_subject": _by_subject(appearance),
        "sheets": [
            _sheet(appearance, config, shards, images[place])
            for place in spread_with_ends(_MAXIMUM_SHEETS, len(images)).tolist()
        ],
    }
    page = template_environment().get_template(_TEMPLATE).render(content)
    write_page(path, page)


def print_appearance(appearance: Appearance) -> None:
    """Print the table of classes, and then the warnings."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    table = Table("class", "tissue")
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("found")
    for each in appearance.classes:
        table.add_row(each.name, each.tissue, *_cells(appearance, each.id), each.found)
    console.print(table)
    for warning in appearance.warnings:
        console.print(warning, style="yellow", highlight=False, markup=False)


def _rows(appearance: Appearance, config: ExperimentConfig) -> list[dict[str, Any]]:
    rows = []
    for each, entry in zip(appearance.classes, config.data.classes, strict=True):
        quantiles = appearance.quantiles[each.id]
        is_known = bool(np.isfinite(quantiles).all())
        places = np.linspace(0, 640, len(quantiles))
        rows.append(
            {
                "name": each.name,
                "tissue": each.tissue,
                "colour": "rgb({},{},{})".format(*entry.colour),
                "found": each.found,
                "cells": _cells(appearance, each.id),
                "strip": np.rint((quantiles + 1) * 127.5).astype(int).tolist() if is_known else [],
                "points": " ".join(
                    f"{x:.1f},{150 - 150 * y:.1f}" for x, y in zip(places, quantiles, strict=True)
                )
                if is_known
                else "",
            }
        )
    return rows


def _cells(appearance: Appearance, class_id: int) -> list[str]:
    each = appearance.classes[class_id]
    greys = (appearance.means[class_id], appearance.deviations[class_id], each.spread)
    shares = (each.overlap, each.share)
    return [
        *(_grey(float(value)) for value in greys),
        *("" if np.isnan(value) else percent(value) for value in shares),
    ]


def _grey(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def _by_subject(appearance: Appearance) -> dict[str, list[str]]:
    subjects = next(iter(appearance.subject_means.values()), {})
    return {
        subject: [_grey(means[subject]) for means in appearance.subject_means.values()]
        for subject in subjects
    }


def _sheet(
    appearance: Appearance, config: ExperimentConfig, shards: Shards, subject: str
) -> tuple[str, Any, Any]:
    found = appearance.pseudo_labels[subject]
    record = next(each for each in shards.records.subjects if each.subject == subject)
    spacing = record.grid(config.data).pixel_mm
    classes = config.data.classes
    indices = record.slice_indices
    image = shards.read_image(record)
    certainty = 2 * found.certainty - 1
    return (
        subject,
        contact_sheet(indices, found.labels, image, None, classes, spacing),
        contact_sheet(indices, None, certainty, None, classes, spacing),
    )

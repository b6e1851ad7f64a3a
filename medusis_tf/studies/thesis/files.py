"""Writer of the thesis's tables: `tables.md`, `tables.csv`, and `tables.html` with panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medusis_tf.errors import UserError
from medusis_tf.files import replacing
from medusis_tf.reports.data_url import data_url
from medusis_tf.reports.formatting import template_environment
from medusis_tf.studies.thesis.tables import (
    NOT_COMPARABLE,
    PROTOCOLS,
    ThesisTable,
    column_title,
    csv_text,
    markdown,
)

_TEMPLATE = "tables.html.jinja"
_JPEG_QUALITY = 80


@dataclass(frozen=True)
class RowPanel:
    """Example slices of a row: label map, real image, images of three noise samples, error map.

    Attributes:
        title: Names of the rows.
        path: PNG file.
    """

    title: str
    path: Path


def write_tables(
    folder: Path,
    title: str,
    origin: Sequence[str],
    tables: Sequence[ThesisTable],
    panels: Sequence[RowPanel],
) -> list[Path]:
    """Write all three files, each atomically.

    Args:
        folder: Output folder; created if missing.
        title: Heading.
        origin: Lines with the data set, the training steps and the seeds of the values.
        tables: Tables to write.
        panels: Example slices for the HTML file only, which then contains real images.

    Returns:
        Paths of the files.

    Raises:
        UserError: A file cannot be written.
    """
    try:
        pages = {
            "tables.md": markdown(title, origin, tables),
            "tables.csv": csv_text(tables),
            "tables.html": _render(title, origin, tables, panels),
        }
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            with replacing(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot write the tables to {folder}: {error.strerror or error}. Give another --out."
        ) from None
    return [folder / name for name in pages]


def _render(
    title: str,
    origin: Sequence[str],
    tables: Sequence[ThesisTable],
    panels: Sequence[RowPanel],
) -> str:
    return (
        template_environment("studies/thesis")
        .get_template(_TEMPLATE)
        .render(
            title=title,
            origin=origin,
            not_comparable=NOT_COMPARABLE,
            protocols=PROTOCOLS,
            tables=tables,
            column_title=column_title,
            panels=[(panel.title, _encoded(panel.path)) for panel in panels],
        )
    )


def _encoded(path: Path) -> str:
    from PIL import Image

    with Image.open(path) as image:
        return data_url(image.convert("RGB"), "JPEG", quality=_JPEG_QUALITY, subsampling=0)

"""Write the thesis's tables down: `tables.md`, `tables.csv`, and `tables.html` with panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medusis_tf.errors import UserError
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

_TEMPLATE = "thesis_tables.html.jinja"
_JPEG_QUALITY = 80


@dataclass(frozen=True)
class RowPanel:
    """Slices of a row: label map, real image, pictures of three noises, error map.

    Attributes:
        title: Which row, or rows.
        path: A PNG.
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
    """Write all three files; each appears whole, or not at all.

    Args:
        folder: Made if need be.
        title: Heading.
        origin: Lines that say of what data and steps the figures are.
        tables: What to show.
        panels: Pictures, in the HTML only: that file holds slices of real volumes.

    Returns:
        The files.

    Raises:
        UserError: They cannot be written.
    """
    try:
        pages = {
            "tables.md": markdown(title, origin, tables),
            "tables.csv": csv_text(tables),
            "tables.html": _render(title, origin, tables, panels),
        }
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in pages.items():
            temporary = folder / f"{name}.partial"
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(folder / name)
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
        template_environment()
        .get_template(_TEMPLATE)
        .render(
            title=title,
            origin=origin,
            not_comparable=NOT_COMPARABLE,
            protocols=PROTOCOLS,
            tables=tables,
            column_title=column_title,
            panels=[(panel.title, _address(panel.path)) for panel in panels],
        )
    )


def _address(path: Path) -> str:
    from PIL import Image

    with Image.open(path) as image:
        return data_url(image.convert("RGB"), "JPEG", quality=_JPEG_QUALITY, subsampling=0)

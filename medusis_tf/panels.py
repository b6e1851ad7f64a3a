"""Panels: rows of slices side by side in one image, the coloured label map first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medusis_tf.config.taxonomy import ClassEntry
from medusis_tf.errors import UserError
from medusis_tf.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Images = Mapping[str, "np.ndarray | None"]

_DPI = 100
_SMALLEST_TILE = 160
_GAP = 6
_MARGIN = 12
_TITLE_HEIGHT = 34
_COLUMN_TITLE_HEIGHT = 26
_ROW_TITLE_WIDTH = 26
_LEGEND_LINE_HEIGHT = 26
_PAPER = (255, 255, 255)
_EMPTY = (226, 229, 233)
_INK = "#1f2630"
_FAINT_INK = "#5b6673"


@dataclass(frozen=True)
class PanelRow:
    """One row of a panel.

    Attributes:
        label_map: `[height, width]` class ids; None if there is no label map.
        images: Column title to `[height, width]` or `[height, width, channels]` in [-1, 1]; None
            if there is no such image. All rows of a panel have the same column titles and size.
        title: Text beside the row.
    """

    label_map: np.ndarray | None
    images: Images
    title: str = ""


def panel(rows: Sequence[PanelRow], classes: Sequence[ClassEntry], title: str = "") -> np.ndarray:
    """Draw rows of slices: the coloured label map, then the images in grey.

    Pixels are repeated, not interpolated: the panel shows exactly what a network painted.

    Args:
        rows: One or more rows.
        classes: Class table, for the colours and the legend; class i is at index i.
        title: Text above the panel.

    Returns:
        `[panel_height, panel_width, 3]` uint8.

    Raises:
        ValueError: There are no rows, or their columns or sizes differ.
    """
    _check(rows)
    tiles = [list(_tiles(row, classes)) for row in rows]
    height, width = tiles[0][0].shape[:2]
    factor = max(1, -(-_SMALLEST_TILE // max(height, width)))
    tiles = [[tile.repeat(factor, 0).repeat(factor, 1) for tile in line] for line in tiles]
    return _draw(tiles, rows, classes, title)


def colour_labels(label_map: np.ndarray, classes: Sequence[ClassEntry]) -> np.ndarray:
    """Colour a label map.

    Args:
        label_map: `[..., height, width]` class ids.
        classes: Class table; class i is at index i.

    Returns:
        `[..., height, width, 3]` uint8.
    """
    colours = np.array([entry.colour for entry in classes], np.uint8)
    return colours[label_map]


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an image as PNG.

    Args:
        path: File to write; an existing file is replaced.
        image: `[height, width, 3]` uint8.

    Raises:
        UserError: The file cannot be written.
    """
    from matplotlib.image import imsave

    try:
        with replacing(path) as temporary:
            imsave(temporary, image, format="png")
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}. Choose an existing, writable folder."
        ) from None


def _check(rows: Sequence[PanelRow]) -> None:
    if not rows:
        raise ValueError("a panel needs at least one row.")
    columns = {tuple(row.images) for row in rows}
    if len(columns) > 1:
        raise ValueError(f"all rows of a panel need the same images. Received: {sorted(columns)}")
    shapes = {array.shape[:2] for row in rows for array in _arrays(row)}
    if len(shapes) != 1:
        raise ValueError(f"all slices of a panel need the same size. Received: {sorted(shapes)}")


def _arrays(row: PanelRow) -> Iterator[np.ndarray]:
    yield from (array for array in (row.label_map, *row.images.values()) if array is not None)


def _tiles(row: PanelRow, classes: Sequence[ClassEntry]) -> Iterator[np.ndarray]:
    shape = next(_arrays(row)).shape[:2]
    empty = np.broadcast_to(np.array(_EMPTY, np.uint8), (*shape, 3))
    yield empty if row.label_map is None else colour_labels(row.label_map, classes)
    for image in row.images.values():
        yield empty if image is None else _grey(np.asarray(image))


def _grey(image: np.ndarray) -> np.ndarray:
    shown = np.clip((image + 1.0) * 127.5, 0, 255).round().astype(np.uint8)
    if shown.ndim == 2:
        shown = shown[..., np.newaxis]
    return np.broadcast_to(shown, (*shown.shape[:2], 3))


def _draw(
    tiles: list[list[np.ndarray]],
    rows: Sequence[PanelRow],
    classes: Sequence[ClassEntry],
    title: str,
) -> np.ndarray:
    # A figure with text but without axes, which would take most of the time.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    mosaic = _mosaic(tiles)
    left = _MARGIN + (_ROW_TITLE_WIDTH if any(row.title for row in rows) else 0)
    top = _MARGIN + _COLUMN_TITLE_HEIGHT + (_TITLE_HEIGHT if title else 0)
    width = left + mosaic.shape[1] + _MARGIN
    legend = _legend_places(classes, left, width - _MARGIN)
    legend_height = (1 + max(line for line, _ in legend)) * _LEGEND_LINE_HEIGHT
    height = top + mosaic.shape[0] + _GAP + legend_height + _MARGIN
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=_hex(_PAPER))
    canvas = FigureCanvasAgg(figure)
    if title:
        _write(figure, left, _MARGIN + 11, title, size=12, weight="bold")
    _write_titles(figure, tiles, rows, left, top)
    _write_legend(figure, classes, legend, top + mosaic.shape[0] + _GAP)
    canvas.draw()
    image = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    image[top : top + mosaic.shape[0], left : left + mosaic.shape[1]] = mosaic
    return image


def _mosaic(tiles: list[list[np.ndarray]]) -> np.ndarray:
    height, width = tiles[0][0].shape[:2]
    size = (len(tiles) * (height + _GAP) - _GAP, len(tiles[0]) * (width + _GAP) - _GAP, 3)
    mosaic = np.empty(size, np.uint8)
    mosaic[:] = _PAPER
    for i, line in enumerate(tiles):
        for j, tile in enumerate(line):
            y, x = i * (height + _GAP), j * (width + _GAP)
            mosaic[y : y + height, x : x + width] = tile
    return mosaic


def _write_titles(
    figure: Figure,
    tiles: list[list[np.ndarray]],
    rows: Sequence[PanelRow],
    left: int,
    top: int,
) -> None:
    height, width = tiles[0][0].shape[:2]
    for j, name in enumerate(("label map", *rows[0].images)):
        middle = left + j * (width + _GAP) + width / 2
        _write(figure, middle, top - 13, name, horizontalalignment="center")
    for i, row in enumerate(rows):
        middle = top + i * (height + _GAP) + height / 2
        x = _MARGIN + _ROW_TITLE_WIDTH / 2 - 2
        _write(
            figure, x, middle, row.title, 10, rotation=90, horizontalalignment="center",
            color=_FAINT_INK,
        )  # fmt: skip


def _legend_places(classes: Sequence[ClassEntry], left: int, right: int) -> list[tuple[int, float]]:
    # `(line, x)` of every entry; 8 pixels per letter are enough for the default font.
    places, line, x = [], 0, float(left)
    for entry in classes:
        needed = 24 + 8 * len(entry.name) + 16
        if x + needed > right and x > left:
            line, x = line + 1, float(left)
        places.append((line, x))
        x += needed
    return places


def _write_legend(
    figure: Figure, classes: Sequence[ClassEntry], places: list[tuple[int, float]], top: int
) -> None:
    from matplotlib.patches import Rectangle

    full_height = figure.get_figheight() * _DPI
    for entry, (line, x) in zip(classes, places, strict=True):
        middle = top + (line + 0.5) * _LEGEND_LINE_HEIGHT
        figure.add_artist(
            Rectangle(
                (x, full_height - middle - 7), 14, 14, transform=None,
                facecolor=_hex(entry.colour), edgecolor=_FAINT_INK, linewidth=0.6,
            )
        )  # fmt: skip
        _write(figure, x + 20, middle, entry.name, size=10)


def _write(figure: Figure, x: float, y: float, text: str, size: float = 11, **style: Any):
    # x and y in pixels from the top left corner; y is the middle of the text.
    width, height = figure.get_size_inches() * _DPI
    style = {"color": _INK, "verticalalignment": "center"} | style
    figure.text(x / width, 1 - y / height, text, fontsize=size, parse_math=False, **style)


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)

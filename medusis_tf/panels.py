"""Panels: rows of slices side by side, label map in colours first, as one picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medusis_tf.config.data import ClassEntry
from medusis_tf.errors import UserError

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
_NOTHING = (226, 229, 233)
_INK = "#1f2630"
_FAINT_INK = "#5b6673"


@dataclass(frozen=True)
class PanelRow:
    """One row of a panel.

    Attributes:
        label_map: `[height, width]` class ids, or None where there is no label map.
        images: Column title to `[height, width]` or `[height, width, channels]` in [-1, 1], or to
            None where there is no such image. Every row of a panel has the same titles and size.
        title: Written beside the row.
    """

    label_map: np.ndarray | None
    images: Images
    title: str = ""


def panel(rows: Sequence[PanelRow], classes: Sequence[ClassEntry], title: str = "") -> np.ndarray:
    """Draw rows of slices: the label map in its colours, then the images, in grey.

    Pixels are repeated, not interpolated, so that what a network painted is what is seen.

    Args:
        rows: At least one.
        classes: The class table, for the colours and the legend; id i stands at place i.
        title: Written above the panel.

    Returns:
        `[panel_height, panel_width, 3]` uint8.

    Raises:
        ValueError: No rows, or rows of different columns or sizes.
    """
    _check(rows)
    tiles = [list(_tiles(row, classes)) for row in rows]
    height, width = tiles[0][0].shape[:2]
    factor = max(1, -(-_SMALLEST_TILE // max(height, width)))
    tiles = [[tile.repeat(factor, 0).repeat(factor, 1) for tile in line] for line in tiles]
    return _draw(tiles, rows, classes, title)


def colour_labels(label_map: np.ndarray, classes: Sequence[ClassEntry]) -> np.ndarray:
    """Give every class its colour.

    Args:
        label_map: `[..., height, width]` class ids.
        classes: The class table; id i stands at place i.

    Returns:
        `[..., height, width, 3]` uint8.
    """
    colours = np.array([entry.colour for entry in classes], np.uint8)
    return colours[label_map]


def write_png(path: Path, picture: np.ndarray) -> None:
    """Write a picture as PNG.

    Args:
        path: Replaced if it exists.
        picture: `[height, width, 3]` uint8.

    Raises:
        UserError: The file cannot be written.
    """
    from matplotlib.image import imsave

    temporary = path.with_name(path.name + ".partial")
    try:
        imsave(temporary, picture, format="png")
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}. Give a folder that exists and is yours."
        ) from None


def _check(rows: Sequence[PanelRow]) -> None:
    if not rows:
        raise ValueError("a panel needs at least one row.")
    columns = {tuple(row.images) for row in rows}
    if len(columns) > 1:
        raise ValueError(f"rows of one panel need the same images. Received: {sorted(columns)}")
    shapes = {array.shape[:2] for row in rows for array in _arrays(row)}
    if len(shapes) != 1:
        raise ValueError(f"slices of one panel need one size. Received: {sorted(shapes)}")


def _arrays(row: PanelRow) -> Iterator[np.ndarray]:
    yield from (array for array in (row.label_map, *row.images.values()) if array is not None)


def _tiles(row: PanelRow, classes: Sequence[ClassEntry]) -> Iterator[np.ndarray]:
    shape = next(_arrays(row)).shape[:2]
    nothing = np.broadcast_to(np.array(_NOTHING, np.uint8), (*shape, 3))
    yield nothing if row.label_map is None else colour_labels(row.label_map, classes)
    for image in row.images.values():
        yield nothing if image is None else _grey(np.asarray(image))


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
    # One figure with text and no axes: axes would take most of the time.
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
    picture = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    picture[top : top + mosaic.shape[0], left : left + mosaic.shape[1]] = mosaic
    return picture


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
    # `(line, x)` of every entry; 8 pixels for a letter is enough for matplotlib's own font.
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
    # x and y in pixels from the top left corner, the text's middle line at y.
    width, height = figure.get_size_inches() * _DPI
    style = {"color": _INK, "verticalalignment": "center"} | style
    figure.text(x / width, 1 - y / height, text, fontsize=size, parse_math=False, **style)


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)

"""Contact sheet of a subject: thumbnails of a few slices, as images inside an HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from medusis_tf.config.taxonomy import ClassEntry
from medusis_tf.data.shards.spread import spread_with_ends
from medusis_tf.reports.data_url import data_url

NUM_TILES = 10
_LONGEST_SIDE = 128
_JPEG_QUALITY = 82
_OUTLINE = (0, 229, 255)


@dataclass(frozen=True)
class Tile:
    """One slice; each image is a `data:` URL, or None if the subject has no such volume.

    `outline` is an overlay for `image`: the edge of the body mask, transparent elsewhere.
    """

    slice_index: int
    label_map: str | None
    image: str | None
    outline: str | None


@dataclass(frozen=True)
class ContactSheet:
    """Evenly spaced slices of a subject; all images have `width` x `height` pixels."""

    width: int
    height: int
    tiles: tuple[Tile, ...]


def contact_sheet(
    slice_indices: Sequence[int],
    label_map: np.ndarray | None,
    image: np.ndarray | None,
    body_mask: np.ndarray | None,
    classes: Sequence[ClassEntry],
    pixel_mm: tuple[float, float],
) -> ContactSheet:
    """Draw slices spread evenly over the slices kept, with their physical aspect ratio.

    Args:
        slice_indices: `[slices]`, indices in the source volume.
        label_map: `[slices, height, width]` class ids.
        image: `[slices, height, width]` in [-1, 1].
        body_mask: `[slices, height, width]`, true inside the body.
        classes: Class table, for the colours.
        pixel_mm: Distance between rows and between columns.
    """
    volumes = [volume for volume in (label_map, image, body_mask) if volume is not None]
    height, width = _tile_size(volumes[0].shape[1:], pixel_mm) if volumes else (1, 1)
    palette = np.array([entry.colour for entry in classes], np.uint8)
    tiles = []
    for index in spread_with_ends(NUM_TILES, len(slice_indices)):
        labels, grey, mask = (
            None if volume is None else volume[index] for volume in (label_map, image, body_mask)
        )
        tiles.append(
            Tile(
                int(slice_indices[index]),
                None if labels is None else _label_map_url(labels, palette, (width, height)),
                None if grey is None else _image_url(grey, (width, height)),
                None if mask is None or grey is None else _outline_url(mask, (width, height)),
            )
        )
    return ContactSheet(width, height, tuple(tiles))


def _tile_size(shape: Sequence[int], pixel_mm: tuple[float, float]) -> tuple[int, int]:
    height_mm, width_mm = (size * step for size, step in zip(shape, pixel_mm, strict=True))
    scale = _LONGEST_SIDE / max(height_mm, width_mm)
    return max(1, round(height_mm * scale)), max(1, round(width_mm * scale))


def _label_map_url(label_map: np.ndarray, palette: np.ndarray, size: tuple[int, int]) -> str:
    from PIL import Image

    # Nearest neighbour: a mixture of two colours may be the colour of a third class.
    shown = Image.fromarray(label_map.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    shown.putpalette(palette.tobytes())
    return data_url(shown, "PNG", optimize=True)


def _image_url(image: np.ndarray, size: tuple[int, int]) -> str:
    from PIL import Image

    grey = np.clip((image + 1) * 127.5, 0, 255).round().astype(np.uint8)
    shown = Image.fromarray(grey).resize(size, Image.Resampling.BOX)
    return data_url(shown, "JPEG", quality=_JPEG_QUALITY)


def _outline_url(body_mask: np.ndarray, size: tuple[int, int]) -> str:
    from PIL import Image

    small = Image.fromarray(body_mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    inside = np.asarray(small).astype(bool)
    edge = inside & ~ndimage.binary_erosion(inside, np.ones((3, 3)))
    shown = Image.fromarray(edge.astype(np.uint8))
    shown.putpalette(bytes((*_OUTLINE, *_OUTLINE)))
    return data_url(shown, "PNG", optimize=True, transparency=0)

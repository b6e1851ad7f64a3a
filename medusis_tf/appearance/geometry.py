"""Where a pixel lies in the body: depth below the outline, angle and axial position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from medusis_tf.config.data import DataConfig
from medusis_tf.data.labels.body import image_body, label_body_mask
from medusis_tf.data.shards.field_of_view import visible_pixels

if TYPE_CHECKING:
    from medusis_tf.data.shards.manifest import SubjectRecord

# A smaller fraction of the body in a slice is not a limb of its own.
_LEAST_LIMB = 0.1
# Width in pixels of the rim that air may be mixed into.
_RIM = 2


@dataclass(frozen=True, eq=False)
class Geometry:
    """Location of all pixels of a subject.

    Attributes:
        body: `[slices, height, width]` bool.
        is_visible: `[height, width]` bool, inside the field of view of the volume.
        depth_mm: `[slices, height, width]` float32, distance to the nearest visible air.
        is_certain: Same shape, bool: no edge of the field of view is nearer than that air.
        angle: Same shape, float32 in [-pi, pi], around the centre of the limb or trunk.
        position: `[slices]` in [0, 1], from the first to the last slice of the body.
    """

    body: np.ndarray
    is_visible: np.ndarray
    depth_mm: np.ndarray
    is_certain: np.ndarray
    angle: np.ndarray
    position: np.ndarray


def label_geometry(label_map: np.ndarray, record: SubjectRecord, data: DataConfig) -> Geometry:
    """Locations in a label map; its body is the foreground with holes filled.

    Args:
        label_map: `[slices, height, width]` class ids, 0 for background.
        record: The subject.
        data: Configuration of the slices.
    """
    return _geometry(label_body_mask(label_map), record, data)


def image_geometry(image: np.ndarray, record: SubjectRecord, data: DataConfig) -> Geometry:
    """Locations in an image; see `image_body` for its body.

    Args:
        image: `[slices, height, width]` in [-1, 1].
        record: The subject.
        data: Configuration of the slices.
    """
    visible = visible_pixels(record, data)
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    # The body continues beyond the borders of an image, so these must be the volume's own.
    window = np.s_[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    body = np.zeros(image.shape, bool)
    body[window] = trim_rim(image[window], image_body(image[window]))
    return _geometry(body, record, data)


def trim_rim(image: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Remove pixels of the rim that are darker than half of the tissue beneath.

    Pixels that are partly air belong to the class that fills more of them, as in label maps.

    Args:
        image: `[slices, height, width]` in [-1, 1].
        body: Same shape, bool.

    Returns:
        Same shape, bool.
    """
    if body.all() or not body.any():
        return body
    air = float(np.median(image[~body]))
    core = np.stack([_inner(plane) for plane in body])
    sigma = (0, _RIM, _RIM)
    weight = ndimage.gaussian_filter(core.astype(np.float32), sigma)
    tissue = ndimage.gaussian_filter(np.where(core, image, 0).astype(np.float32), sigma)
    half = (air + tissue / np.maximum(weight, 1e-3)) / 2
    return body & (core | (weight < 1e-2) | (image >= half))


def _inner(body: np.ndarray) -> np.ndarray:
    """Body without its rim; it continues beyond the border."""
    cross = ndimage.generate_binary_structure(2, 1)
    return ndimage.binary_erosion(body, cross, iterations=_RIM, border_value=1)


def _geometry(body: np.ndarray, record: SubjectRecord, data: DataConfig) -> Geometry:
    visible = visible_pixels(record, data)
    spacing = record.grid(data).pixel_mm
    depth = np.empty(body.shape, np.float32)
    angle = np.empty(body.shape, np.float32)
    # The edge of the slice is an edge of the field of view, too.
    edge = ndimage.distance_transform_edt(np.pad(visible, 1), sampling=spacing)[1:-1, 1:-1]
    largest = float(np.hypot(*(np.array(visible.shape) * spacing)))
    for index, plane in enumerate(body):
        solid = plane | ~visible
        depth[index] = (
            largest if solid.all() else ndimage.distance_transform_edt(solid, sampling=spacing)
        )
        angle[index] = _angles(plane)
    return Geometry(
        body & visible,
        visible,
        depth,
        depth <= edge,
        angle,
        np.array(record.positions, np.float32),
    )


def _angles(body: np.ndarray) -> np.ndarray:
    """Angle of each pixel around the centre of its limb; small pieces belong to the whole."""
    rows, columns = np.indices(body.shape, dtype=np.float32)
    centres = np.broadcast_to(_centre(body), (*body.shape, 2)).copy()
    labels, count = ndimage.label(body)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    for limb in range(1, count + 1):
        if sizes[limb] >= _LEAST_LIMB * sizes[1:].sum():
            centres[labels == limb] = _centre(labels == limb)
    return np.arctan2(rows - centres[..., 0], columns - centres[..., 1])


def _centre(mask: np.ndarray) -> tuple[float, float]:
    if not mask.any():
        return (mask.shape[0] - 1) / 2, (mask.shape[1] - 1) / 2
    row, column = ndimage.center_of_mass(mask)
    return float(row), float(column)

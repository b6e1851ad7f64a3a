"""Read the training data for the estimate: counts of label maps, pixels of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medusis_tf.appearance.atlas import NUM_DEPTHS, count_classes, locate
from medusis_tf.appearance.geometry import Geometry, image_geometry, label_geometry
from medusis_tf.config.data import DataConfig
from medusis_tf.data.shards.spread import spread_centres, spread_with_ends

if TYPE_CHECKING:
    from medusis_tf.data.shards.manifest import SubjectRecord
    from medusis_tf.data.shards.shards import Shards

# Air this close to the body mixes with the skin.
_AIR_DISTANCE_PX = 2


@dataclass(frozen=True, eq=False)
class LabelSample:
    """Counts of one label map.

    Attributes:
        record: The subject.
        counts: Output of `count_classes`.
        body_mm2: Median area of the body in a slice.
    """

    record: SubjectRecord
    counts: list[np.ndarray]
    body_mm2: float


@dataclass(frozen=True, eq=False)
class ImageSample:
    """Pixels of one image.

    Attributes:
        record: The subject.
        grey: `[n]` float32, spread over the body.
        cells: `[levels, n]` of `locate`.
        places: `[n, 3]` relative coordinates in [-1, 1].
        air: `[m]` float32, pixels around the body.
        body_mm2: Median area of the body in a slice.
    """

    record: SubjectRecord
    grey: np.ndarray
    cells: np.ndarray
    places: np.ndarray
    air: np.ndarray
    body_mm2: float


def read_label_samples(shards: Shards, data: DataConfig, max_subjects: int) -> list[LabelSample]:
    """Count the classes of the training label maps, spread over all subjects."""
    samples = []
    for record in _some(shards.subjects("train", "label_map"), max_subjects):
        label_map = read_label_map(shards, record)
        geometry = label_geometry(label_map, record, data)
        if geometry.body.any():
            counts = count_classes(label_map, geometry, data.num_classes)
            samples.append(LabelSample(record, counts, _area(geometry, record, data)))
    return samples


def read_image_samples(
    shards: Shards, data: DataConfig, max_subjects: int, pixels: int
) -> list[ImageSample]:
    """Sample pixels of the training images, spread over all subjects."""
    samples = []
    for record in _some(shards.subjects("train", "image"), max_subjects):
        image = shards.read_image(record)
        geometry = image_geometry(image, record, data)
        if geometry.body.any():
            samples.append(_sample(image, geometry, record, data, pixels))
    return samples


def read_label_map(shards: Shards, record: SubjectRecord) -> np.ndarray:
    """Class ids of a subject, `[slices, height, width]`.

    Raises:
        ValueError: It has no label map.
    """
    label_map = shards.read(record).label_map
    if label_map is None:
        raise ValueError(f"subject {record.subject} has no label map")
    return label_map


def relative_places(shape: tuple[int, ...]) -> np.ndarray:
    """Coordinates of all pixels of slices in [-1, 1], `[slices, height, width, 3]` float32."""
    axes = [np.linspace(-1, 1, side, dtype=np.float32) for side in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def by_depth(cells: np.ndarray) -> np.ndarray:
    """Depth bin of pixels, whether or not it is certain, from their cells `[levels, ...]`."""
    return cells[0] % NUM_DEPTHS


def _sample(
    image: np.ndarray, geometry: Geometry, record: SubjectRecord, data: DataConfig, pixels: int
) -> ImageSample:
    inside = np.flatnonzero(geometry.body)
    chosen = inside[spread_centres(pixels, len(inside))]
    cells = np.stack([level.ravel()[chosen] for level in locate(geometry)])
    outside = surrounding_air(geometry)
    air = image[outside]
    return ImageSample(
        record,
        image.ravel()[chosen],
        cells,
        relative_places(image.shape).reshape(-1, 3)[chosen],
        air[spread_centres(pixels, len(air))],
        _area(geometry, record, data),
    )


def surrounding_air(geometry: Geometry) -> np.ndarray:
    """Visible pixels outside the body, without its rim."""
    near = geometry.body.copy()
    for axis in (1, 2):
        for shift in range(1, _AIR_DISTANCE_PX + 1):
            near |= np.roll(geometry.body, shift, axis) | np.roll(geometry.body, -shift, axis)
    return ~near & geometry.is_visible


def _area(geometry: Geometry, record: SubjectRecord, data: DataConfig) -> float:
    height, width = record.grid(data).pixel_mm
    return float(np.median(geometry.body.sum(axis=(1, 2)))) * height * width


def _some(records: Sequence[SubjectRecord], count: int) -> list[SubjectRecord]:
    return [records[place] for place in spread_with_ends(count, len(records)).tolist()]

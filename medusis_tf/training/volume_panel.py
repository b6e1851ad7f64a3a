"""Three planes of a synthetic volume of a run: the same volume and noise at every step."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.shards.field_of_view import continue_labels, visible_pixels
from medusis_tf.data.shards.shards import Shards
from medusis_tf.data.shards.spread import step_within
from medusis_tf.data.slicing.slices import OUTSIDE_IMAGE
from medusis_tf.methods.method import Method
from medusis_tf.methods.painting import paint_slices
from medusis_tf.methods.random_numbers import Purpose, step_seed
from medusis_tf.panels import PanelRow, panel

MAX_SLICES = 96
_Plane = Callable[[np.ndarray], np.ndarray]


class VolumePanel:
    """An axial, a coronal and a sagittal plane of a label map and its synthetic image.

    The planes cross in the middle of the foreground. All slices share one noise, as in `medusis
    synthesize`. The label map is the first of the validation split, or of the training split if
    that has none; of more than 96 slices, every second, third, ... is painted, and with
    `config.volumes` the first 96.

    Args:
        config: The experiment.
        shards: Prepared slices of the experiment.
        continues_labels: Whether networks expect labels that continue beyond the field of view.
            Their images are then air there.

    Raises:
        ValueError: The manifest names slices that there are not.
    """

    def __init__(self, config: ExperimentConfig, shards: Shards, continues_labels: bool = False):
        self._config = config
        found = shards.subjects("validation", "label_map") or shards.subjects("train", "label_map")
        record = found[0]
        stored = shards.read(record).label_map
        if stored is None:
            raise ValueError(f"{record.subject} has no label map among the prepared slices")
        places = np.array(record.slice_indices) - record.slice_indices[0]
        step = step_within(MAX_SLICES, int(places[-1]) + 1)
        if config.volumes is not None:  # which need all neighbours
            places = places[: np.searchsorted(places, MAX_SLICES)]
            stored, step = stored[: len(places)], 1
        chosen = places % step == 0
        self._places = places[chosen] // step
        self._label_map = np.zeros((self._places[-1] + 1, *config.data.image_size), np.uint8)
        self._label_map[self._places] = stored[chosen]
        self._across_mm = step * record.grid(config.data).slice_mm
        self._pixel_mm = record.grid(config.data).pixel_mm
        view = visible_pixels(record, config.data)
        self._view = view if continues_labels else np.ones_like(view)
        self._seed = step_seed(config.seed, tf.constant(0), Purpose.PANEL_NOISE)

    def draw(self, method: Method) -> np.ndarray:
        """Draw the panel, `[height, width, 3]` uint8."""
        title, network = next(iter(method.shown_networks.items()))
        shape, noise = method.painter.noise_shape, None
        if shape is not None:
            noise = tf.random.stateless_normal([1, *shape], self._seed)[0]
        label_map = continue_labels(self._label_map, self._view)
        volume = np.full(label_map.shape, OUTSIDE_IMAGE, np.float32)
        places = self._places
        painted = paint_slices(network, label_map[places], noise, self._config, places)[..., 0]
        volume[places] = np.where(self._view, painted, np.float32(OUTSIDE_IMAGE))
        planes = self._planes()
        labels = [plane(self._label_map) for plane in planes.values()]
        images = [plane(volume) for plane in planes.values()]
        size = np.max([each.shape for each in labels], axis=0)
        rows = [
            PanelRow(_padded(label, size, 0), {title: _padded(image, size, OUTSIDE_IMAGE)}, name)
            for name, label, image in zip(planes, labels, images, strict=True)
        ]
        heading = f"{self._config.name}, step {int(method.step)}, one volume"
        return panel(rows, self._config.data.classes, heading)

    def _planes(self) -> dict[str, _Plane]:
        """Functions from `[slices, rows, columns]` to the planes, with square pixels."""
        across, (down, right) = self._across_mm, self._pixel_mm
        pixel = min(across, down, right)
        slice_, row, column = _middle(self._label_map)

        def in_plane(volume: np.ndarray) -> np.ndarray:
            return _squared(volume[slice_], down, right, pixel)

        def along_rows(volume: np.ndarray) -> np.ndarray:
            return _squared(volume[:, row], across, right, pixel)

        def along_columns(volume: np.ndarray) -> np.ndarray:
            return _squared(volume[:, :, column], across, down, pixel)

        # Upright and radiological, as slices are: superior or anterior at the top.
        return {
            "axial": {
                "axial": in_plane,
                "coronal": lambda volume: along_rows(volume)[::-1],
                "sagittal": lambda volume: along_columns(volume)[::-1],
            },
            "coronal": {
                "axial": along_rows,
                "coronal": in_plane,
                "sagittal": lambda volume: along_columns(volume).T,
            },
            "sagittal": {
                "axial": lambda volume: along_rows(volume).T,
                "coronal": lambda volume: along_columns(volume).T,
                "sagittal": in_plane,
            },
        }[self._config.data.axis]


def _middle(label_map: np.ndarray) -> list[int]:
    """Middle of the foreground along each axis; of the volume if there is none."""
    present = label_map != 0
    if not present.any():
        return [side // 2 for side in label_map.shape]
    others = [(1, 2), (0, 2), (0, 1)]
    ends = [np.flatnonzero(present.any(axis=axes))[[0, -1]] for axes in others]
    return [int(first + last) // 2 for first, last in ends]


def _squared(plane: np.ndarray, down: float, right: float, pixel: float) -> np.ndarray:
    """Repeat the pixels of a plane of `down` x `right` mm, so that they become squares."""
    for axis, mm in enumerate((down, right)):
        count = plane.shape[axis]
        centres = (np.arange(max(1, round(count * mm / pixel))) + 0.5) * (pixel / mm)
        plane = np.take(plane, centres.astype(int).clip(max=count - 1), axis)
    return plane


def _padded(plane: np.ndarray, size: np.ndarray, fill: float) -> np.ndarray:
    missing = size - plane.shape
    before = missing // 2
    return np.pad(plane, list(zip(before, missing - before, strict=True)), constant_values=fill)

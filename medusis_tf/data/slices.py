"""Axial slices of a volume on a fixed grid in millimetres, and back.

Slices are drawn as radiologists look at them: row 0 is anterior, column 0 the patient's right, so
that `slice[row, column]` is `array[x=column, y=row, z]` of a volume in LPS order. The grid is
centred on the volume's in-plane centre.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medusis_tf.config.data import DataConfig
from medusis_tf.data.nifti import Volume

OUTSIDE_IMAGE = -1.0
# Pixels darker than this, on the scale from -1 to 1, count as air.
AIR_BELOW = -0.9


@dataclass(frozen=True)
class SliceGrid:
    """A pixel grid, and where it lies on the axial slices of a volume.

    Attributes:
        size: Rows and columns.
        spacing_mm: Between rows and between columns.
        volume_shape: Voxels along x, y and z, LPS order.
        volume_spacing_mm: Between voxels along x, y and z.
    """

    size: tuple[int, int]
    spacing_mm: tuple[float, float]
    volume_shape: tuple[int, int, int]
    volume_spacing_mm: tuple[float, float, float]

    @classmethod
    def of(cls, volume: Volume, data: DataConfig) -> SliceGrid:
        """The grid of the configuration, laid on a volume."""
        return cls(data.image_size, data.spacing_mm, volume.shape, volume.spacing_mm)

    @classmethod
    def covering(
        cls, label_map: Volume, size: tuple[int, int], spacing_mm: tuple[float, float], stride: int
    ) -> SliceGrid:
        """The grid to synthesize on: wide enough for all foreground of a label map.

        Args:
            label_map: Class ids, 0 for background.
            size: Rows and columns in training: the least.
            spacing_mm: Between rows and between columns, as in training.
            stride: The size grows by multiples of it, as the generator needs.
        """
        present = np.any(label_map.array != 0, axis=2)
        axes = [(present.any(axis=0), 1), (present.any(axis=1), 0)]  # y for rows, x for columns
        wide = []
        for (occupied, axis), least, spacing in zip(axes, size, spacing_mm, strict=True):
            reach_mm = _reach(occupied) * label_map.spacing_mm[axis]
            missing = max(0, int(np.ceil(round(2 * reach_mm / spacing - least, 6))))
            wide.append(least + -(-missing // stride) * stride)
        return cls((wide[0], wide[1]), spacing_mm, label_map.shape, label_map.spacing_mm)

    def label_slices(self, array: np.ndarray) -> np.ndarray:
        """Sample class ids, nearest neighbour; 0 outside the volume.

        Args:
            array: `[x, y, z]` integers.

        Returns:
            `[z, rows, columns]`, same dtype.
        """
        # Nearest, never linear: averaging two classes gives a third that is not there.
        rows, columns = self._onto_grid()
        slices = self._upright(array)[:, rows.nearest][:, :, columns.nearest]
        slices[:, ~_inside(rows, columns)] = 0
        return slices

    def image_slices(self, array: np.ndarray) -> np.ndarray:
        """Sample intensities in [-1, 1], linear; -1 outside the volume.

        Args:
            array: `[x, y, z]` floats.

        Returns:
            `[z, rows, columns]` float32.
        """
        rows, columns = self._onto_grid()
        return _sample_linear(self._upright(array), rows, columns, OUTSIDE_IMAGE)

    def from_slices(self, slices: np.ndarray, fill: float = OUTSIDE_IMAGE) -> np.ndarray:
        """Lay intensities back onto the volume's own voxels, linear.

        Args:
            slices: `[z, rows, columns]` floats, one for every axial slice of the volume.
            fill: Value of voxels that the grid does not cover.

        Returns:
            `[x, y, z]` float32.

        Raises:
            ValueError: The slices do not fit the grid.
        """
        if slices.shape != (self.volume_shape[2], *self.size):
            raise ValueError(
                f"slices must have shape {(self.volume_shape[2], *self.size)}. "
                f"Received: {slices.shape}"
            )
        (height, width), (row_mm, column_mm) = self.size, self.spacing_mm
        x, y, _ = self.volume_shape
        x_mm, y_mm, _ = self.volume_spacing_mm
        rows, columns = _Axis(y, y_mm, height, row_mm), _Axis(x, x_mm, width, column_mm)
        volume = _sample_linear(slices, rows, columns, fill)
        return np.ascontiguousarray(volume.transpose(2, 1, 0))

    def _onto_grid(self) -> tuple[_Axis, _Axis]:
        (height, width), (row_mm, column_mm) = self.size, self.spacing_mm
        x, y, _ = self.volume_shape
        x_mm, y_mm, _ = self.volume_spacing_mm
        return _Axis(height, row_mm, y, y_mm), _Axis(width, column_mm, x, x_mm)

    def _upright(self, array: np.ndarray) -> np.ndarray:
        if array.shape != self.volume_shape:
            raise ValueError(f"expected shape {self.volume_shape}. Received: {array.shape}")
        return array.transpose(2, 1, 0)


class _Axis:
    """Where the points of one axis fall among the points of another with the same centre.

    Args:
        count: Points to sample at.
        spacing_mm: Between them.
        source_count: Points with values.
        source_spacing_mm: Between those.
    """

    def __init__(self, count: int, spacing_mm: float, source_count: int, source_spacing_mm: float):
        from_centre = (np.arange(count) - (count - 1) / 2) * (spacing_mm / source_spacing_mm)
        # Rounded, so that equal grids match exactly and halves fall the same way everywhere.
        position = np.round(from_centre + (source_count - 1) / 2, 6)
        # A source point stands for its whole cell, half a spacing to each side.
        self.inside = (position >= -0.5) & (position <= source_count - 0.5)
        position = np.clip(position, 0, source_count - 1)
        self.nearest = np.floor(position + 0.5).astype(int).clip(max=source_count - 1)
        self.lower = np.floor(position).astype(int)
        self.upper = np.minimum(self.lower + 1, source_count - 1)
        self.weight = (position - self.lower).astype(np.float32)


def choose_slices(
    label_slices: np.ndarray | None, image_slices: np.ndarray | None, minimum_foreground: float
) -> np.ndarray:
    """Indices of the slices that show enough.

    Args:
        label_slices: `[slices, rows, columns]` class ids.
        image_slices: The same slices as intensities in [-1, 1]; at least one of both is given.
        minimum_foreground: Least fraction of pixels that are not class 0, and of pixels brighter
            than air.

    Returns:
        Increasing indices.
    """
    foregrounds = [] if label_slices is None else [label_slices != 0]
    if image_slices is not None:
        foregrounds.append(image_slices > AIR_BELOW)
    fractions = np.stack([part.mean(axis=(1, 2)) for part in foregrounds])
    return np.flatnonzero(np.all(fractions >= minimum_foreground, axis=0))


def _reach(occupied: np.ndarray) -> float:
    """Distance in voxels from the middle of an axis to the far edge of what is occupied."""
    indices = np.flatnonzero(occupied)
    if len(indices) == 0:
        return 0.0
    middle = len(occupied) / 2
    return float(max(middle - indices[0], indices[-1] + 1 - middle))


def _inside(rows: _Axis, columns: _Axis) -> np.ndarray:
    return np.logical_and.outer(rows.inside, columns.inside)


def _sample_linear(slices: np.ndarray, rows: _Axis, columns: _Axis, fill: float) -> np.ndarray:
    values = slices.astype(np.float32)
    weight = rows.weight[:, np.newaxis]
    values = values[:, rows.lower] * (1 - weight) + values[:, rows.upper] * weight
    values = values[:, :, columns.lower] * (1 - columns.weight) + (
        values[:, :, columns.upper] * columns.weight
    )
    values[:, ~_inside(rows, columns)] = fill
    return values

"""Sample slices of a volume on a fixed pixel grid, and map slices back to voxels.

Slices have the radiological orientation, and are centred on the volume's in-plane centre, or at
an offset from it:

- axial: row 0 is anterior, column 0 the patient's right; slice 0 is the most inferior;
- coronal: row 0 is superior, column 0 the patient's right; slice 0 is the most anterior;
- sagittal: row 0 is superior, column 0 anterior; slice 0 is the patient's rightmost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from medusis_tf.config.data import Axis, DataConfig
from medusis_tf.data.slicing.resampling import AxisSampling, sample_linear, sample_nearest
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.volume import Volume

OUTSIDE_IMAGE = -1.0
# Axes of an LPS volume that become slices, rows and columns; z is reversed if it becomes rows.
_VIEWS: dict[Axis, tuple[int, int, int]] = {
    "axial": (2, 1, 0),
    "coronal": (1, 2, 0),
    "sagittal": (0, 2, 1),
}
# Axis of the slices in a volume in LPS order.
SLICE_AXIS: dict[Axis, int] = {axis: view[0] for axis, view in _VIEWS.items()}
_SLICES_AT_ONCE = 16

Scaling = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class SliceGrid:
    """A pixel grid, and its position on the slices of a volume.

    Attributes:
        size: Number of rows and columns.
        spacing_mm: Distance between rows and between columns; None for native pixels, the
            volume's own, padded or cropped by whole pixels.
        volume_shape: Number of voxels along x, y and z, LPS order.
        volume_spacing_mm: Distance between voxels along x, y and z.
        axis: Orientation of the slices.
        offset: Centre of the slices, in voxels below and to the right of the volume's.
    """

    size: tuple[int, int]
    spacing_mm: tuple[float, float] | None
    volume_shape: tuple[int, int, int]
    volume_spacing_mm: tuple[float, float, float]
    axis: Axis = "axial"
    offset: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def of(cls, grid: Grid, data: DataConfig) -> SliceGrid:
        """The grid of the configuration on a volume."""
        return cls(data.image_size, data.pixel_spacing_mm, grid.shape, grid.spacing_mm, data.axis)

    @classmethod
    def covering(
        cls,
        label_map: Volume,
        size: tuple[int, int],
        spacing_mm: tuple[float, float] | None,
        stride: int,
        axis: Axis = "axial",
    ) -> SliceGrid:
        """The grid for synthesis: large enough for all foreground of a label map.

        Args:
            label_map: Class ids, 0 for background.
            size: Number of rows and columns in training, the minimum.
            spacing_mm: Distance between rows and between columns in training; None for native
                pixels.
            stride: Step in which the size grows, as required by the generator.
            axis: Orientation of the slices.
        """
        least = cls(size, spacing_mm, label_map.shape, label_map.spacing_mm, axis)
        present = least.upright(label_map.array != 0)
        grown = []
        for occupied, count, pixel_mm, voxel_mm in zip(
            (np.any(present, axis=(0, 2)), np.any(present, axis=(0, 1))),
            size,
            least.pixel_mm,
            least.voxel_mm,
            strict=True,
        ):
            reach_mm = _reach(occupied) * voxel_mm
            missing = max(0, int(np.ceil(round(2 * reach_mm / pixel_mm - count, 6))))
            grown.append(count + -(-missing // stride) * stride)
        return cls((grown[0], grown[1]), spacing_mm, label_map.shape, label_map.spacing_mm, axis)

    def centred_on(self, body: np.ndarray, step: int = 1) -> SliceGrid:
        """The same grid, centred on the smallest rectangle around a body; itself without one.

        Args:
            body: `[slices, rows, columns]`, nonzero inside; some slices of the upright volume.
            step: Step between its rows and between its columns, in voxels.
        """
        offset = []
        _, *axes = _VIEWS[self.axis]
        for axis, source in enumerate(axes):
            found = np.flatnonzero(np.any(body, axis=(0, 2 - axis))) * step
            if len(found) == 0:
                return self
            middle = (found[0] + found[-1] + step - 1) / 2 - (self.volume_shape[source] - 1) / 2
            # Native pixels are moved by whole voxels, so that they are not interpolated.
            offset.append(float(middle if self.spacing_mm is not None else np.floor(middle + 0.5)))
        return replace(self, offset=(offset[0], offset[1]))

    @property
    def num_slices(self) -> int:
        """Number of slices of the volume."""
        return self.volume_shape[SLICE_AXIS[self.axis]]

    @property
    def slice_mm(self) -> float:
        """Distance between the slices of the volume."""
        return self.volume_spacing_mm[SLICE_AXIS[self.axis]]

    @property
    def voxel_mm(self) -> tuple[float, float]:
        """Spacing of the volume along rows and columns of the slices."""
        _, row, column = _VIEWS[self.axis]
        return self.volume_spacing_mm[row], self.volume_spacing_mm[column]

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Spacing of the pixels, also for native pixels."""
        return self.spacing_mm or self.voxel_mm

    def upright(self, array: np.ndarray) -> np.ndarray:
        """View of `[x, y, z]` as `[slices, rows, columns]`.

        Raises:
            ValueError: The array does not have the volume's shape.
        """
        if array.shape != self.volume_shape:
            raise ValueError(f"expected shape {self.volume_shape}. Received: {array.shape}")
        view = array.transpose(_VIEWS[self.axis])
        return view if self.axis == "axial" else view[:, ::-1]

    def label_slices(self, array: np.ndarray) -> np.ndarray:
        """Sample class ids, nearest neighbour; 0 outside the volume.

        Args:
            array: `[x, y, z]` integers.

        Returns:
            `[slices, rows, columns]`, same dtype.
        """
        # Never linear: the mean of two class ids is a third, wrong class.
        return sample_nearest(self.upright(array), *self._onto_grid(), fill=0)

    def image_slices(self, volume: Volume, scale: Scaling) -> np.ndarray:
        """Sample scaled intensities, linear; -1 outside the volume.

        Works on a few slices at a time, so that the whole volume is never converted to floats.

        Args:
            volume: An image.
            scale: Function from float32 intensities `[n, rows, columns]`, whole slices of the
                volume in order, to values of the same shape in [-1, 1].

        Returns:
            `[slices, rows, columns]` float32.
        """
        view = self.upright(volume.array)
        rows, columns = self._onto_grid()
        sampled = np.empty((self.num_slices, *self.size), np.float32)
        for first in range(0, self.num_slices, _SLICES_AT_ONCE):
            block = slice(first, first + _SLICES_AT_ONCE)
            values = view[block].astype(np.float32)
            if (volume.slope, volume.intercept) != (1.0, 0.0):
                values = values * np.float32(volume.slope) + np.float32(volume.intercept)
            sampled[block] = sample_linear(scale(values), rows, columns, OUTSIDE_IMAGE)
        return sampled

    def from_slices(
        self, slices: np.ndarray, fill: float = OUTSIDE_IMAGE, restore: Scaling | None = None
    ) -> np.ndarray:
        """Interpolate slices at the voxels of the volume, linear.

        Works on a few slices at a time, so that no second float volume is needed.

        Args:
            slices: `[slices, rows, columns]` floats, all slices of the volume.
            fill: Value of voxels outside the grid.
            restore: Function from interpolated values `[n, rows, columns]` float32 to the values
                to return.

        Returns:
            `[x, y, z]` float32; x varies fastest in memory, as in a NIfTI file.

        Raises:
            ValueError: The slices do not fit the grid.
        """
        if slices.shape != (self.num_slices, *self.size):
            raise ValueError(
                f"slices must have shape {(self.num_slices, *self.size)}. Received: {slices.shape}"
            )
        rows, columns = self._onto_volume()
        volume = np.empty(self.volume_shape, np.float32, order="F")
        view = self.upright(volume)
        for first in range(0, self.num_slices, _SLICES_AT_ONCE):
            block = slice(first, first + _SLICES_AT_ONCE)
            sampled = sample_linear(slices[block].astype(np.float32), rows, columns, fill)
            view[block] = restore(sampled) if restore is not None else sampled
        return volume

    def _onto_grid(self) -> tuple[AxisSampling, AxisSampling]:
        row, column = (
            AxisSampling(count, pixel_mm, source, voxel_mm, self._shift(count, source) + offset)
            for (count, pixel_mm, source, voxel_mm), offset in zip(
                self._axes(), self.offset, strict=True
            )
        )
        return row, column

    def _onto_volume(self) -> tuple[AxisSampling, AxisSampling]:
        row, column = (
            AxisSampling(
                source,
                voxel_mm,
                count,
                pixel_mm,
                -self._shift(count, source) - offset * voxel_mm / pixel_mm,
            )
            for (count, pixel_mm, source, voxel_mm), offset in zip(
                self._axes(), self.offset, strict=True
            )
        )
        return row, column

    def _axes(self) -> zip[tuple[int, float, int, float]]:
        _, row, column = _VIEWS[self.axis]
        voxels = self.volume_shape[row], self.volume_shape[column]
        return zip(self.size, self.pixel_mm, voxels, self.voxel_mm, strict=True)

    def _shift(self, count: int, source: int) -> float:
        # Native pixels are not interpolated: no half-pixel shift between odd and even sizes.
        return 0.0 if self.spacing_mm is not None else -((source - count) % 2) / 2


def _reach(occupied: np.ndarray) -> float:
    """Distance in voxels from the middle of an axis to the farthest edge of the occupied part."""
    indices = np.flatnonzero(occupied)
    if len(indices) == 0:
        return 0.0
    middle = len(occupied) / 2
    return float(max(middle - indices[0], indices[-1] + 1 - middle))

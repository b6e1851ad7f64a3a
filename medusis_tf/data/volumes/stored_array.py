"""Volumes that a library reads as a whole: checks, types and axes, the same for every format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.volume import Volume, axis_codes, lps_grid, spans_space, to_lps
from medusis_tf.data.volumes.voxel_values import WholeNumbers, check_finite
from medusis_tf.errors import UserError


@dataclass(frozen=True, eq=False)
class StoredArray:
    """An opened file: what its header says, and a function that reads its voxels.

    Attributes:
        path: Source file.
        shape: Shape of the stored array; three axes.
        dtype: Type of the stored array.
        affine: `[4, 4]`, from stored indices to RAS+ millimetres.
        load: Reads the stored array, `[i, j, k]`.
        slope: Scale factor of the intensities.
        intercept: Offset of the intensities.
        warnings: Suspicious properties, one sentence each.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    affine: np.ndarray
    load: Callable[[], np.ndarray]
    slope: float = 1.0
    intercept: float = 0.0
    warnings: tuple[str, ...] = ()

    def image(self, config: ReadingConfig) -> Volume:
        """Read an image: stored values, those of 64 bits as float32.

        Raises:
            UserError: The file is damaged, or has non-finite values.
        """
        array = self._array()
        if array.dtype.itemsize > 4:
            with np.errstate(over="ignore"):
                array = array.astype(np.float32)
        array = np.require(array, requirements=["F", "W"])
        flat = array.reshape(-1, order="F")
        warnings = check_finite(flat, self.slope, self.intercept, self.path, config.not_finite)
        return self._volume(array, self.slope, self.intercept, warnings)

    def label_map(self, config: ReadingConfig) -> Volume:
        """Read a label map: integers of up to 16 bits as stored, all others rounded.

        Raises:
            UserError: The file is damaged, or its values are not integers of 32 bits.
        """
        array, warnings = self._array(), tuple[str, ...]()
        small = array.dtype.kind in "iu" and array.dtype.itemsize <= 2
        if not small or (self.slope, self.intercept) != (1.0, 0.0):
            ids = WholeNumbers(self.slope, self.intercept, config.not_finite)
            array = ids(array)
            warnings = ids.check(self.path, array.size)
        return self._volume(array, warnings=warnings)

    def grid(self) -> Grid:
        """The voxel positions."""
        shape, affine = lps_grid(self.shape, self.affine)
        return Grid(shape, affine, self.path, axis_codes(self.affine))

    def check(self, config: ReadingConfig) -> StoredArray:
        """Check what the header says before any voxel is read.

        Raises:
            UserError: It is not one volume of real numbers with a known position, or is too large.
        """
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise UserError(
                f"{self.path} must contain one 3-D volume. Received: shape {self.shape}. "
                "Save the wanted frame as a separate file."
            )
        if prod(self.shape) > config.maximum_voxels:
            raise UserError(
                f"{self.path} claims {prod(self.shape)} voxels, shape {self.shape}; the limit is "
                f"{config.maximum_voxels}. If the file is not broken, crop it or raise "
                "data.reading.maximum_voxels."
            )
        if self.dtype.kind not in "iuf" or self.dtype.itemsize > 8:
            raise UserError(
                f"{self.path} must contain one real number per voxel. Received: {self.dtype}. "
                "Convert colour, complex or vector volumes to grey values."
            )
        if not spans_space(self.affine) or not np.isfinite([self.slope, self.intercept]).all():
            raise UserError(
                f"{self.path} has a header that is not valid: affine {self.affine[:3].tolist()}, "
                f"scale {self.slope:g}, {self.intercept:g}. Set it from the source of the data."
            )
        return self

    def _array(self) -> np.ndarray:
        array = self.load()
        if array.shape != self.shape:
            raise UserError(f"{self.path} is damaged: its voxels do not fit its header.")
        return array.astype(array.dtype.newbyteorder("="), copy=False)

    def _volume(
        self,
        array: np.ndarray,
        slope: float = 1.0,
        intercept: float = 0.0,
        warnings: tuple[str, ...] = (),
    ) -> Volume:
        turned, affine = to_lps(array, self.affine)
        axes = axis_codes(self.affine)
        return Volume(turned, affine, self.path, slope, intercept, axes, self.warnings + warnings)


class StoredArrayReader(NamedTuple):
    """Reads volumes of formats that a library reads as a whole.

    Attributes:
        open: Opens a file, given the reading options; reads its header only.
    """

    open: Callable[[Path, ReadingConfig], StoredArray]

    def read_volume(self, path: Path | str, config: ReadingConfig) -> Volume:
        """Read an image.

        Raises:
            UserError: The file cannot be opened, is damaged, or has non-finite values.
        """
        return self.open(Path(path), config).image(config)

    def read_label_map(self, path: Path | str, config: ReadingConfig) -> Volume:
        """Read a label map.

        Raises:
            UserError: As for `read_volume`, or the values are not integers of 32 bits.
        """
        return self.open(Path(path), config).label_map(config)

    def read_grid(self, path: Path | str, config: ReadingConfig) -> Grid:
        """Read the voxel positions, from the header only.

        Raises:
            UserError: The file cannot be opened.
        """
        return self.open(Path(path), config).grid()


def assumed_affine(axes: str, sizes_mm: np.ndarray) -> np.ndarray:
    """Affine `[4, 4]` of a volume whose header has only voxel sizes, for axes such as `RAS`."""
    affine = np.zeros([4, 4])
    for index, (letter, size) in enumerate(zip(axes, sizes_mm, strict=True)):
        axis = next(i for i, pair in enumerate(("LR", "PA", "IS")) if letter in pair)
        affine[axis, index] = size if letter in "RAS" else -size
    affine[3, 3] = 1
    return affine


def unknown_orientation(
    path: Path, why: str, sizes_mm: np.ndarray, config: ReadingConfig
) -> tuple[np.ndarray, str]:
    """The assumed affine of a file without an orientation, and a warning.

    Args:
        path: Source file.
        why: What the header lacks, after "it has no orientation: ".
        sizes_mm: Voxel sizes along the stored axes.
        config: Reading options.

    Raises:
        UserError: No axes are assumed.
    """
    if config.assume_axes is None:
        raise UserError(
            f"{path} has no orientation: {why}, so left and right are unknown. Set it from the "
            "source of the data, or set data.reading.assume_axes to the axes, such as RAS."
        )
    affine = assumed_affine(config.assume_axes, sizes_mm)
    return affine, f"Its header has no orientation: the axes {config.assume_axes} are assumed."

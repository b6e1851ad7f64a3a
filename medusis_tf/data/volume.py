"""A volume in memory: its numbers, its place in the world, and the file it came from."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D array in LPS axis order.

    Index 0 grows toward the patient's Left, index 1 toward Posterior and index 2 toward Superior.
    The numbers are kept as stored, and may be a view on them: a volume of 200 million int16 voxels
    would not fit memory as floats.

    Attributes:
        array: `[x, y, z]`; an intensity is `array * slope + intercept`.
        affine: `[4, 4]`, from array indices to RAS+ millimetres.
        path: For error messages, and to write results onto the same grid.
        slope: Of the intensities; 1 for label maps.
        intercept: Of the intensities; 0 for label maps.
        axes: Axis order of the file, such as `RAS`.
        warnings: What is doubtful about the file, a sentence each.
    """

    array: np.ndarray
    affine: np.ndarray
    path: Path
    slope: float = 1.0
    intercept: float = 0.0
    axes: str = "LPS"
    warnings: tuple[str, ...] = field(default=())

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along x, y and z."""
        x, y, z = self.array.shape
        return x, y, z

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along x, y and z."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    def intensities(self) -> np.ndarray:
        """All intensities at once, `[x, y, z]` float32, units of the source."""
        values = self.array.astype(np.float32)
        if (self.slope, self.intercept) != (1.0, 0.0):
            values *= np.float32(self.slope)
            values += np.float32(self.intercept)
        return values

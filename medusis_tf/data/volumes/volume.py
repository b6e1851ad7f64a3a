"""A volume in memory: voxel values, position in space, and source file."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from nibabel import orientations

_PLAUSIBLE_MM = (0.01, 100.0)
_LARGEST_SKEW_DEGREES = 1.0


@dataclass(frozen=True, eq=False)
class Volume:
    """A 3-D array in LPS axis order.

    Index 0 increases toward the patient's Left, index 1 toward Posterior, index 2 toward Superior.
    Values keep their stored type and may be a view of the stored array: 200 million int16 voxels
    would not fit into memory as floats.

    Attributes:
        array: `[x, y, z]`; the intensity is `array * slope + intercept`.
        affine: `[4, 4]`, from array indices to RAS+ millimetres.
        path: Source file, for error messages and as the reference grid of results.
        slope: Scale factor of the intensities; 1 for label maps.
        intercept: Offset of the intensities; 0 for label maps.
        axes: Axis order of the file, such as `RAS`.
        warnings: Suspicious properties of the file, one sentence each.
        has_stored_order: Whether the order of the voxels in the file is a property of the file;
            false for DICOM, whose slices are sorted by position, and for PNG.
    """

    array: np.ndarray
    affine: np.ndarray
    path: Path
    slope: float = 1.0
    intercept: float = 0.0
    axes: str = "LPS"
    warnings: tuple[str, ...] = field(default=())
    has_stored_order: bool = True

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along x, y and z."""
        x, y, z = self.array.shape
        return x, y, z

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along x, y and z."""
        return spacing_of(self.affine)

    def intensities(self) -> np.ndarray:
        """All intensities, `[x, y, z]` float32, in units of the source."""
        values = self.array.astype(np.float32)
        if (self.slope, self.intercept) != (1.0, 0.0):
            values *= np.float32(self.slope)
            values += np.float32(self.intercept)
        return values


_LPS = orientations.axcodes2ornt(("L", "P", "S"))


def spacing_of(affine: np.ndarray) -> tuple[float, float, float]:
    """Distance in millimetres between neighbouring voxels along each array axis."""
    x, y, z = np.linalg.norm(affine[:3, :3], axis=0)
    return float(x), float(y), float(z)


def to_lps(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """View a stored array in LPS order.

    Args:
        array: `[i, j, k]` as stored.
        affine: `[4, 4]`, from stored indices to RAS+ millimetres.

    Returns:
        The view `[x, y, z]`, and the affine of its indices.
    """
    reoriented = orientations.apply_orientation(array, _transform(affine))
    return reoriented, lps_grid(array.shape, affine)[1]


def lps_grid(shape: tuple[int, ...], affine: np.ndarray) -> tuple[tuple[int, int, int], np.ndarray]:
    """Shape and affine of a stored array in LPS order."""
    transform = _transform(affine)
    sides = [0, 0, 0]
    for side, (target, _) in zip(shape, transform, strict=True):
        sides[int(target)] = side
    x, y, z = sides
    return (x, y, z), affine @ orientations.inv_ornt_aff(transform, shape)


def from_lps(array: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """View an LPS array in the axis order of a file with this affine."""
    back = orientations.ornt_transform(_LPS, orientations.io_orientation(affine))
    return orientations.apply_orientation(array, back)


def affine_in_order(axes: str, shape: tuple[int, int, int], affine: np.ndarray) -> np.ndarray:
    """Affine of an LPS grid stored in another axis order, such as `RAS`."""
    transform = orientations.ornt_transform(_LPS, orientations.axcodes2ornt(tuple(axes)))
    return affine @ orientations.inv_ornt_aff(transform, shape)


def axis_codes(affine: np.ndarray) -> str:
    """Directions of increasing stored indices, such as `RAS`."""
    return "".join(orientations.aff2axcodes(affine))


def spans_space(affine: np.ndarray) -> bool:
    """Whether an affine is finite and its three axes are linearly independent."""
    if not np.isfinite(affine).all():
        return False
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(lengths).all() or lengths.min() <= 0:
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / lengths)) >= 1e-3)


def grid_warnings(affine: np.ndarray) -> Iterator[str]:
    """What is suspicious about the voxels of an affine, one sentence each."""
    if not spans_space(affine):
        return
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = _PLAUSIBLE_MM
    if sizes.min() < low or sizes.max() > high:
        yield f"Its voxel size is unusual: {np.array2string(sizes, precision=4)} mm."
    directions = affine[:3, :3] / sizes
    cosine = np.abs(directions.T @ directions - np.eye(3)).max()
    skew = float(np.degrees(np.arcsin(min(cosine, 1.0))))
    if skew > _LARGEST_SKEW_DEGREES:
        yield (
            f"Its axes are not at right angles: off by {skew:.1f} degrees. Its slices are used as "
            "they are stored, not straightened."
        )


def _transform(affine: np.ndarray) -> np.ndarray:
    return orientations.ornt_transform(orientations.io_orientation(affine), _LPS)

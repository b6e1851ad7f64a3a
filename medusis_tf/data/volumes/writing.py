"""Write an image in the format of its file name: NIfTI, NRRD, MetaImage, or a DICOM series."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np

from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.nifti import DESCRIPTION, write_volume
from medusis_tf.data.volumes.suffixes import has_nifti_name
from medusis_tf.data.volumes.volume import affine_in_order, from_lps
from medusis_tf.errors import UserError
from medusis_tf.files import replacing

Format = Literal["nii.gz", "nii", "nrrd", "mha", "dicom"]
StoredType = Literal["float32", "int16", "uint16"]
FILE_FORMATS: tuple[Format, ...] = ("nii.gz", "nii", "nrrd", "mha")
# Integers hold intensities as they are if these span at least as many steps.
_LEAST_STEPS = 255
_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class WrittenAs:
    """How an image is stored.

    Attributes:
        format: Format of the file; `dicom` is a folder with one file for each slice.
        dtype: Type of the stored numbers. DICOM has no floats: `float32` becomes `uint16`.
        attributes: Attributes of patient, study and series of a DICOM series, by keyword.
        keeps_header: Whether NIfTI copies the grid fields of the header of a NIfTI source; not if
            these define no orientation.
    """

    format: Format = "nii.gz"
    dtype: StoredType = "float32"
    attributes: Mapping[str, str] = field(default_factory=dict)
    keeps_header: bool = True


@dataclass(frozen=True, eq=False)
class StoredIntensities:
    """Stored numbers `[x, y, z]`; the intensity is `array * slope + intercept`."""

    array: np.ndarray
    slope: float = 1.0
    intercept: float = 0.0


def format_of(path: Path) -> Format | None:
    """The format that a file name chooses; None if it chooses none."""
    name = path.name.lower()
    return next((each for each in FILE_FORMATS if name.endswith(f".{each}")), None)


def stem_of(path: Path) -> str:
    """The name of a written file without its suffix, or of the folder of a series."""
    suffix = format_of(path)
    return path.name if suffix is None else path.name[: -len(suffix) - 1]


def write_image(
    path: Path, array: np.ndarray, grid: Grid, how: WrittenAs, ends: tuple[float, float]
) -> None:
    """Write an image on the grid and in the axis order of a volume.

    An existing file or series is replaced only when the new one is complete.

    Args:
        path: File, or folder of a DICOM series; folders above it are created.
        array: `[x, y, z]` float32 in LPS order.
        grid: Grid of the same shape. If its path is a NIfTI file, NIfTI copies its header's grid.
        how: Format and type.
        ends: Lowest and highest intensity, for integers.

    Raises:
        UserError: A package is missing, integers cannot hold the intensities, the grid does not fit
            the format, or nothing can be written.
    """
    if how.format == "dicom":
        from medusis_tf.data.volumes.dicom_writing import write_series

        stored = stored_as(array, "uint16" if how.dtype == "float32" else how.dtype, ends)
        write_series(path, stored, grid, how.attributes, ends)
        return
    stored = stored_as(array, how.dtype, ends)
    if how.format in ("nrrd", "mha"):
        if (stored.slope, stored.intercept) != (1.0, 0.0):
            raise UserError(
                f"{path} cannot hold intensities from {ends[0]:g} to {ends[1]:g} as {how.dtype}: "
                f"{how.format} has no scale factor. Use float32, or another format."
            )
        _write_itk(path, stored.array, grid)
    elif how.dtype == "float32":
        copies = how.keeps_header and has_nifti_name(grid.path) and grid.path.is_file()
        write_volume(path, array, grid.path if copies else grid)
    else:
        _write_nifti_integers(path, stored, grid)


def stored_as(array: np.ndarray, dtype: StoredType, ends: tuple[float, float]) -> StoredIntensities:
    """Round intensities to integers; with a scale factor if they span fewer than 255 steps.

    Args:
        array: Intensities.
        dtype: Type of the stored numbers.
        ends: Lowest and highest intensity.
    """
    if dtype == "float32":
        return StoredIntensities(array.astype(np.float32, copy=False))
    limits, (low, high) = np.iinfo(dtype), ends
    slope, intercept = 1.0, 0.0
    if high - low < _LEAST_STEPS or low < limits.min or high > limits.max:
        slope, intercept = (high - low) / (limits.max // 2), low
    numbers = np.rint((array - np.float32(intercept)) / np.float32(slope))
    return StoredIntensities(numbers.clip(limits.min, limits.max).astype(dtype), slope, intercept)


def _write_nifti_integers(path: Path, stored: StoredIntensities, grid: Grid) -> None:
    affine = affine_in_order(grid.axes, grid.shape, grid.affine)
    image = nib.Nifti1Image(from_lps(stored.array, affine), affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = DESCRIPTION.encode()
    image.header.set_slope_inter(stored.slope, stored.intercept)
    with writing(path), replacing(path) as temporary:
        nib.save(image, temporary)


def _write_itk(path: Path, array: np.ndarray, grid: Grid) -> None:
    try:
        itk = importlib.import_module("SimpleITK")
    except ImportError:
        raise UserError(
            f"writing {path.name} needs SimpleITK. Install it with "
            "pip install 'medusis_tf[formats]', or write .nii.gz."
        ) from None
    affine = affine_in_order(grid.axes, grid.shape, grid.affine)
    stored = np.ascontiguousarray(from_lps(array, affine).transpose(2, 1, 0))
    image = itk.GetImageFromArray(stored)
    position = _TO_LPS @ affine
    sizes = np.linalg.norm(position[:3, :3], axis=0)
    image.SetSpacing(sizes.tolist())
    image.SetDirection((position[:3, :3] / sizes).ravel().tolist())
    image.SetOrigin(position[:3, 3].tolist())
    image.SetMetaData("Comment", DESCRIPTION)
    with writing(path), replacing(path) as temporary:
        # For another case, such as .MHA, it would write two files.
        written = temporary.with_name(temporary.name.lower())
        try:
            itk.WriteImage(image, str(written), useCompression=True)
            written.replace(temporary)
        except RuntimeError as error:
            written.unlink(missing_ok=True)
            raise UserError(f"cannot write {path}: {' '.join(str(error).split())[-300:]}") from None


class writing:  # noqa: N801
    """Context that creates the folder of a file, and turns failures into a `UserError`.

    Args:
        path: File or folder that is written.
    """

    def __init__(self, path: Path):
        self._path = path

    def __enter__(self) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._failed(error) from None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> UserError:
        reason = error.strerror or (os.strerror(error.errno) if error.errno else str(error))
        return UserError(
            f"cannot write {self._path}: {reason}. Check the folder and the free space."
        )

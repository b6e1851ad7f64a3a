"""Read NRRD and MetaImage files with SimpleITK. Needs the extra `formats`."""

from __future__ import annotations

import importlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.companions import check_companion
from medusis_tf.data.volumes.itk_header import check_meta_header, check_nrrd_header
from medusis_tf.data.volumes.stored_array import StoredArray, unknown_orientation
from medusis_tf.data.volumes.volume import grid_warnings
from medusis_tf.errors import UserError

# What ITK reports after it has converted the axes of a NRRD file; other spaces are not anatomical.
_ANATOMICAL = "left-posterior-superior"
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def open_file(path: Path, config: ReadingConfig) -> StoredArray:
    """Open a file and check its header.

    Args:
        path: File named `.nrrd`, `.nhdr`, `.mha` or `.mhd`.
        config: Reading options.

    Raises:
        UserError: SimpleITK is missing, or the file is not one readable 3-D volume.
    """
    itk = _import_simpleitk()
    check_companion(path)
    reader = itk.ImageFileReader()
    reader.SetFileName(str(path))
    kind = "NrrdImageIO" if path.suffix.lower() in (".nrrd", ".nhdr") else "MetaImageIO"
    reader.SetImageIO(kind)
    is_nrrd = kind == "NrrdImageIO"
    unusual = () if is_nrrd else tuple(check_meta_header(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from None
    sizes = np.array(reader.GetSpacing())
    affine, warnings = np.eye(4), tuple[str, ...]()
    if len(sizes) == 3:
        affine, warnings = _affine(reader, kind, sizes, path, config)
        unusual = tuple(check_nrrd_header(path)) if is_nrrd else unusual
        warnings = (*warnings, *unusual, *grid_warnings(affine))
    shape = reader.GetSize()
    if reader.GetNumberOfComponents() != 1:
        shape = (*shape, reader.GetNumberOfComponents())
    dtype = _dtype(itk, reader)

    def load() -> np.ndarray:
        try:
            return itk.GetArrayFromImage(reader.Execute()).transpose()
        except RuntimeError as error:
            raise _unreadable(path, error) from None

    return StoredArray(path, tuple(shape), dtype, affine, load, warnings=warnings).check(config)


def _affine(
    reader: Any, kind: str, sizes: np.ndarray, path: Path, config: ReadingConfig
) -> tuple[np.ndarray, tuple[str, ...]]:
    """RAS+ affine and warnings."""
    keys = reader.GetMetaDataKeys()
    space = reader.GetMetaData("NRRD_space") if "NRRD_space" in keys else "none"
    if kind == "NrrdImageIO" and space != _ANATOMICAL:
        why = f"its space is {space}"
        affine, warning = unknown_orientation(path, why, np.abs(sizes), config)
        return affine, (warning,)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(reader.GetDirection(), [3, 3]) * sizes
    affine[:3, 3] = reader.GetOrigin()
    return _TO_RAS @ affine, ()


def _dtype(itk: Any, reader: Any) -> np.dtype:
    with suppress(KeyError, ValueError, TypeError):
        names = {
            getattr(itk, f"sitk{name}"): name.lower()
            for name in ("UInt8", "Int8", "UInt16", "Int16", "UInt32", "Int32", "UInt64", "Int64")
        }
        names |= {itk.sitkFloat32: "float32", itk.sitkFloat64: "float64"}
        return np.dtype(names[reader.GetPixelID()])
    return np.dtype(np.void)


def _import_simpleitk() -> Any:
    try:
        return importlib.import_module("SimpleITK")
    except ImportError:
        raise UserError(
            "reading NRRD and MetaImage needs SimpleITK. Install it: "
            "pip install 'medusis_tf[formats]'."
        ) from None


def _unreadable(path: Path, error: Exception) -> UserError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[-1] if lines else type(error).__name__
    return UserError(
        f"{path} cannot be read as NRRD or MetaImage: {reason[:200]}. It may be truncated or "
        "damaged; copy or convert it again."
    )

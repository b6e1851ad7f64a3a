"""Read Analyze 7.5 and NIfTI pairs (.hdr and .img) and FreeSurfer's MGH and MGZ with nibabel.

`open_image` reads an image of nibabel in memory, also NIfTI, as its file would be read.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip, igzip_lib
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer.mghformat import MGHHeader
from nibabel.spatialimages import HeaderDataError

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.companions import check_companion
from medusis_tf.data.volumes.nifti_affine import checked_affine
from medusis_tf.data.volumes.stored_array import StoredArray, unknown_orientation
from medusis_tf.data.volumes.volume import grid_warnings
from medusis_tf.errors import UserError

# Fixed length of the header; the voxels follow.
_MGH_HEADER = 284
_DEFLATE_ERROR: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]
_UNREADABLE = (
    ImageFileError,
    HeaderDataError,
    OSError,
    EOFError,
    ValueError,
    KeyError,
    OverflowError,
    MemoryError,
    TypeError,  # nibabel, if a header is too short
    zlib.error,
    _DEFLATE_ERROR,
)


def open_file(path: Path, config: ReadingConfig) -> StoredArray:
    """Open a file and check its header.

    Args:
        path: File named `.hdr`, `.img`, `.mgh` or `.mgz`.
        config: Reading options.

    Raises:
        UserError: The file is not one readable 3-D volume with a known orientation.
    """
    check_companion(path)
    warnings: list[str] = []
    try:
        if path.suffix.lower() in (".mgh", ".mgz"):
            header, affine = _mgh_header(path, config, warnings)
            warnings.extend(grid_warnings(affine))
            proxy = nib.MGHImage.ImageArrayProxy(str(path), header)
        else:
            image: Any = nib.load(path)
            header, proxy = image.header, image.dataobj
            affine = _pair_affine(image, path, config, warnings)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None
    shape = tuple(int(side) for side in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]

    def load() -> np.ndarray:
        try:
            return np.array(proxy.get_unscaled()).reshape(shape, order="F")
        except _UNREADABLE as error:
            raise _unreadable(path, error) from None

    slope, intercept = float(proxy.slope), float(proxy.inter)
    dtype = header.get_data_dtype()
    stored = StoredArray(path, shape, dtype, affine, load, slope, intercept, tuple(warnings))
    return stored.check(config)


def open_image(image: Any, config: ReadingConfig) -> StoredArray:
    """Open an image of nibabel in memory, and check its header as that of a file.

    Args:
        image: NIfTI, Analyze or MGH image.
        config: Reading options.

    Raises:
        UserError: It is not one readable 3-D volume with a known orientation.
    """
    path = Path(image.get_filename() or "label map in memory")
    warnings: list[str] = []
    shape = tuple(int(side) for side in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    try:
        affine = _image_affine(image, path, config, warnings)
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None
    if affine is None:
        raise UserError(f"{path} has no affine. Give the image the affine of its source.")

    def load() -> np.ndarray:
        try:
            return np.asanyarray(image.dataobj).reshape(shape)
        except _UNREADABLE as error:
            raise _unreadable(path, error) from None

    dtype = np.dtype(image.dataobj.dtype)
    return StoredArray(path, shape, dtype, affine, load, warnings=tuple(warnings)).check(config)


def _image_affine(
    image: Any, path: Path, config: ReadingConfig, warnings: list[str]
) -> np.ndarray | None:
    """The affine of an image; what nibabel fills in where the file has none does not count."""
    header = image.header.copy()
    if isinstance(image, nib.Nifti1Pair):
        if image.affine is None or np.allclose(image.affine, header.get_best_affine()):
            return checked_affine(header, path, config, warnings)
    elif image.affine is None:
        return None
    elif isinstance(image, nib.MGHImage):
        blank = MGHHeader()
        blank.set_data_shape(image.shape)
        if path.is_file() and np.allclose(image.affine, blank.get_affine()):
            return _mgh_header(path, config, warnings)[1]
    elif isinstance(image, nib.AnalyzeImage):
        return _pair_affine(image, path, config, warnings)
    warnings.extend(grid_warnings(image.affine))
    return np.array(image.affine, np.float64)


def _mgh_header(
    path: Path, config: ReadingConfig, warnings: list[str]
) -> tuple[MGHHeader, np.ndarray]:
    """Header and affine; nibabel fills in a default orientation where the file has none."""
    fields = MGHHeader.template_dtype
    opener = igzip.open if path.suffix.lower() == ".mgz" else open
    with opener(path, "rb") as stream:
        block = stream.read(_MGH_HEADER)
    if len(block) < _MGH_HEADER:
        raise ValueError("it ends in its header")
    stored = np.frombuffer(block.ljust(fields.itemsize, b"\0"), fields, 1)[0]
    header = MGHHeader(block)
    if int(stored["goodRASFlag"]) > 0:
        with np.errstate(all="ignore"):  # an affine that is not finite is refused later
            return header, header.get_affine()
    affine, warning = unknown_orientation(path, "goodRASFlag is 0", stored["delta"], config)
    warnings.append(warning)
    return header, affine


def _pair_affine(image: Any, path: Path, config: ReadingConfig, warnings: list[str]) -> np.ndarray:
    if isinstance(image, nib.Nifti1Pair):
        return checked_affine(image.header, path, config, warnings)
    sizes = np.abs(image.header["pixdim"][1:4])
    affine, warning = unknown_orientation(path, "Analyze 7.5 stores none", sizes, config)
    warnings.append(warning)
    return affine


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return UserError(
        f"{path} cannot be read: {reason}. It may be truncated or damaged; copy or convert it "
        "again."
    )

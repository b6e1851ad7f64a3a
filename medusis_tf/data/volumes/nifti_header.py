"""NIfTI headers, checked before any voxel is read."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Literal

import nibabel as nib
import numpy as np
from isal import igzip, igzip_lib
from nibabel.spatialimages import HeaderDataError

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.nifti_affine import ROUNDING, checked_affine
from medusis_tf.data.volumes.suffixes import has_nifti_name
from medusis_tf.errors import UserError

_KINDS = {348: (nib.Nifti1Header, b"n+1", b"ni1"), 540: (nib.Nifti2Header, b"n+2", b"ni2")}
_ORDERS: tuple[Literal["little", "big"], ...] = ("little", "big")
_GZIP_MAGIC = b"\x1f\x8b"
# Upper limit of DEFLATE's compression ratio (zlib's technical notes: 1032).
_LARGEST_DEFLATE_RATIO = 1032
_LARGEST_OFFSET = 2**26
# The library's stub declares an instance instead of a class.
_DEFLATE_ERROR: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]
_UNREADABLE = (
    HeaderDataError,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    MemoryError,
    ZeroDivisionError,
    zlib.error,
    _DEFLATE_ERROR,
)


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """A checked header.

    Attributes:
        fields: nibabel header, without extensions.
        shape: Shape of the stored array, three axes.
        dtype: Type of the stored array, in its byte order.
        affine: `[4, 4]`, from stored indices to RAS+ millimetres.
        offset: Number of bytes before the first voxel.
        slope: Scale factor of the intensities.
        intercept: Offset of the intensities.
        warnings: Suspicious properties, one sentence each.
    """

    fields: Any
    shape: tuple[int, int, int]
    dtype: np.dtype
    affine: np.ndarray
    offset: int
    slope: float
    intercept: float
    warnings: tuple[str, ...]

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return prod(self.shape)


@contextmanager
def open_nifti(path: Path, config: ReadingConfig) -> Iterator[tuple[NiftiHeader, BinaryIO]]:
    """Open a plain or compressed file and check its header.

    Args:
        path: NIfTI file.
        config: Reading options.

    Yields:
        The header, and the stream positioned after the 348 or 540 bytes of the header.

    Raises:
        UserError: The file is missing, is not one volume of real numbers with a known
            orientation, or reading in the body of the `with` statement fails.
    """
    if not path.is_file():
        raise UserError(f"there is no file {path}. Check the path and data.root.")
    if not has_nifti_name(path):
        raise UserError(f"{path} is not named .nii or .nii.gz. Convert it to NIfTI, or rename it.")
    try:
        opener = igzip.open if _is_compressed(path) else open
        with opener(path, "rb") as stream:
            yield _read_header(stream, path, config), stream
    except _UNREADABLE as error:
        raise _unreadable(path, error) from None


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(2)
    if not start:
        raise UserError(f"{path} cannot be read as NIfTI: it is empty. Copy it again.")
    compressed, named = start == _GZIP_MAGIC, path.name.lower().endswith(".gz")
    if named and not compressed:
        raise UserError(
            f"{path} cannot be read as NIfTI: it is named .gz but is not compressed. "
            f"If it is NIfTI, rename it to {path.name[: -len('.gz')]}."
        )
    if compressed and not named:
        raise UserError(
            f"{path} cannot be read as NIfTI: it is compressed but not named .gz. "
            f"Rename it to {path.name}.gz."
        )
    return compressed


def _read_header(stream: BinaryIO, path: Path, config: ReadingConfig) -> NiftiHeader:
    block = stream.read(348)
    endianness = next(
        (order for order in _ORDERS if int.from_bytes(block[:4], order) in _KINDS), None
    )
    if len(block) < 348 or endianness is None:
        raise UserError(
            f"{path} cannot be read as NIfTI: it does not start with a NIfTI header. "
            "Convert it to NIfTI, or copy it again."
        )
    size = int.from_bytes(block[:4], endianness)
    kind, magic, pair_magic = _KINDS[size]
    block += stream.read(size - len(block))
    if len(block) < size:
        raise UserError(f"{path} is too short: it ends in its header. Copy it again.")
    fields = kind(block, endianness=endianness, check=False)
    found = fields["magic"].item()
    if found == pair_magic:
        raise UserError(f"{path} is the header of a .hdr/.img pair. Name both files so.")
    if found != magic:
        raise UserError(
            f"{path} cannot be read as NIfTI: magic {found!r} instead of {magic!r}. "
            "Convert files of Analyze 7.5 and other formats."
        )
    with np.errstate(all="ignore"):
        return _check(fields, path, config)


def _check(fields: Any, path: Path, config: ReadingConfig) -> NiftiHeader:
    shape, dtype = _shape_and_type(fields, path)
    _check_size(shape, dtype, path, config)
    offset = float(fields["vox_offset"])
    if np.isfinite(offset) and abs(offset - round(offset)) < ROUNDING:
        offset = round(offset)
    if not len(fields.binaryblock) + 4 <= offset <= _LARGEST_OFFSET:
        raise UserError(
            f"{path} is broken: according to its header, voxels start at byte {offset:g}. "
            "Export it again."
        )
    warnings: list[str] = []
    affine = checked_affine(fields, path, config, warnings)
    slope, intercept = _scale(fields, path, warnings)
    return NiftiHeader(fields, shape, dtype, affine, int(offset), slope, intercept, tuple(warnings))


def _shape_and_type(fields: Any, path: Path) -> tuple[tuple[int, int, int], np.dtype]:
    axes = int(fields["dim"][0])
    shape = tuple(int(side) for side in fields["dim"][1 : 1 + max(axes, 0)])
    if not 3 <= axes <= 7 or any(side != 1 for side in shape[3:]):
        raise UserError(
            f"{path} must contain one 3-D volume. Received: {axes} axes, shape {shape}. "
            "Save the wanted frame as a separate file."
        )
    if min(shape) < 1:
        raise UserError(
            f"{path} has an axis without voxels: shape {shape}. The file is broken; export it "
            "again."
        )
    try:
        dtype = fields.get_data_dtype()
    except KeyError:
        raise UserError(
            f"{path} is broken: datatype {int(fields['datatype'])} is not defined in NIfTI. "
            "Export it again."
        ) from None
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise UserError(
            f"{path} must contain one real number per voxel. Received: {dtype}. "
            "Convert colour, complex or 128-bit volumes to grey values."
        )
    x, y, z = shape[:3]
    return (x, y, z), dtype


def _check_size(
    shape: tuple[int, int, int], dtype: np.dtype, path: Path, config: ReadingConfig
) -> None:
    voxels = prod(shape)
    if voxels > config.maximum_voxels:
        raise UserError(
            f"{path} claims {voxels} voxels, shape {shape}; the limit is {config.maximum_voxels}. "
            "If the file is not broken, crop it or raise data.reading.maximum_voxels."
        )
    ratio = _LARGEST_DEFLATE_RATIO if path.name.lower().endswith(".gz") else 1
    size = path.stat().st_size
    if voxels * dtype.itemsize > ratio * size:
        raise UserError(
            f"{path} is too short: shape {shape} of {dtype} does not fit into {size} bytes. "
            "Copy or download it again."
        )


def _scale(fields: Any, path: Path, warnings: list[str]) -> tuple[float, float]:
    slope, intercept = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0:
        return 1.0, 0.0  # not scaled, according to the NIfTI standard
    if not np.isfinite(slope):
        warnings.append(f"Its header has scl_slope {slope}: the stored values are used unscaled.")
        return 1.0, 0.0
    if not np.isfinite(intercept):
        raise UserError(
            f"{path} has scl_inter {intercept} with scl_slope {slope:g}. "
            "Correct the header from the source of the data."
        )
    return slope, intercept


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return UserError(
        f"{path} cannot be read as NIfTI: {reason}. It may be truncated or damaged; "
        "copy or convert it again."
    )

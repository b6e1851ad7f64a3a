"""Read NIfTI volumes, refusing what is broken, and write arrays back onto their grid."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.nifti_header import SUFFIXES, NiftiHeader, open_nifti
from medusis_tf.data.volumes.volume import (
    Volume,
    affine_in_order,
    axis_codes,
    from_lps,
    lps_grid,
    to_lps,
)
from medusis_tf.data.volumes.voxel_values import WholeNumbers, settle_not_finite
from medusis_tf.errors import UserError

# What places a grid in the world; nothing else of a source's header is copied to what we write.
_GRID_FIELDS = (
    "qform_code",
    "sform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "srow_x",
    "srow_y",
    "srow_z",
    "xyzt_units",
)
DESCRIPTION = "synthetic image by medusis_tf, not a scan"
_READING = ReadingConfig()


def read_volume(path: Path, config: ReadingConfig = _READING) -> Volume:
    """Read an image.

    Returns:
        The stored numbers, of the stored type; those of 64 bits as float32, the type of all
        intensities, since two copies of them would not fit the memory of a worker.

    Raises:
        UserError: The file is missing or broken, not a 3-D grid in a known place, or holds values
            that are not finite numbers.
    """
    with open_nifti(path, config) as (header, stream):
        convert = to_float32 if header.dtype.itemsize > 4 else None
        values = read_voxels(stream, header, path, convert)
    flat = values.reshape(-1, order="F")
    doubts = settle_not_finite(flat, header.slope, header.intercept, path, config.not_finite)
    return _volume(values, header, path, header.slope, header.intercept, doubts)


def read_label_map(path: Path, config: ReadingConfig = _READING) -> Volume:
    """Read a label map.

    Integers up to 16 bits are taken as stored where the header has no scale factor. Everything
    else becomes int16, or int32 where the ids need it: values within 0.001 of an integer are
    rounded to it.

    Raises:
        UserError: As for `read_volume`, or the values are not integers of 32 bits.
    """
    with open_nifti(path, config) as (header, stream):
        unscaled = (header.slope, header.intercept) == (1.0, 0.0)
        small = header.dtype.kind in "iu" and header.dtype.itemsize <= 2
        ids = WholeNumbers(header.slope, header.intercept)
        values = read_voxels(stream, header, path, None if unscaled and small else ids)
        ids.check(path, header.voxels)
    return _volume(values, header, path)


def read_grid(path: Path, config: ReadingConfig = _READING) -> Grid:
    """Read where the voxels lie, from the header alone.

    Raises:
        UserError: The header cannot be read, or says nothing sensible.
    """
    with open_nifti(path, config) as (header, _):
        return Grid(*lps_grid(header.shape, header.affine), path, axis_codes(header.affine))


def _volume(
    values: np.ndarray,
    header: NiftiHeader,
    path: Path,
    slope: float = 1.0,
    intercept: float = 0.0,
    doubts: tuple[str, ...] = (),
) -> Volume:
    array, affine = to_lps(values, header.affine)
    axes = axis_codes(header.affine)
    return Volume(array, affine, path, slope, intercept, axes, header.warnings + doubts)


def write_volume(
    path: Path,
    array: np.ndarray,
    reference: Path | Grid,
    description: str = DESCRIPTION,
    config: ReadingConfig = _READING,
) -> None:
    """Write an array in LPS order onto the grid, affine and axis order of another volume.

    Of a file's header only the place in the world is kept: no text, no extensions. The file
    appears whole or not at all.

    Args:
        path: Ends in `.nii` or `.nii.gz`; replaced if it exists.
        array: `[x, y, z]`, of the reference's shape in LPS order. Floats are stored as float32,
            integers and booleans as the smallest of uint8, int16, uint16 and int32 that fits.
        reference: A NIfTI file, or the grid of a volume from elsewhere.
        description: For the header's `descrip`, at most 79 bytes.
        config: How the reference is read.

    Raises:
        UserError: The reference cannot be read, or the name is not that of a NIfTI file.
        ValueError: The array does not fit the reference.
    """
    if not path.name.endswith(SUFFIXES):
        raise UserError(f"{path} must end in .nii or .nii.gz.")
    header, affine, shape = _place(reference, config)
    if array.shape != shape:
        raise ValueError(
            f"the array must have the shape of its reference. Received: {array.shape}, {shape}"
        )
    stored = from_lps(array, affine)
    stored = stored.astype(_storage_dtype(stored), copy=False)
    header.set_data_dtype(stored.dtype)
    header.set_data_shape(stored.shape)
    header["descrip"] = description.encode()
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    _save_whole(kind(stored, affine, header), path)


def _place(
    reference: Path | Grid, config: ReadingConfig
) -> tuple[Any, np.ndarray, tuple[int, int, int]]:
    """A header that says where the voxels lie and nothing else, its affine, the LPS shape."""
    if isinstance(reference, Grid):
        header = nib.Nifti1Header()
        header.set_xyzt_units("mm")
        affine = affine_in_order(reference.axes, reference.shape, reference.affine)
        return header, affine, reference.shape
    with open_nifti(reference, config) as (source, _):
        header = type(source.fields)()
        header["pixdim"][:4] = source.fields["pixdim"][:4]
        for field in _GRID_FIELDS:
            header[field] = source.fields[field]
        return header, source.affine, lps_grid(source.shape, source.affine)[0]


def _save_whole(image: Any, path: Path) -> None:
    suffix = ".nii.gz" if path.name.endswith(".gz") else ".nii"
    temporary = path.with_name(f".{path.name}.partial{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(image, temporary)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}.") from None
    finally:
        temporary.unlink(missing_ok=True)


def _storage_dtype(array: np.ndarray) -> np.dtype:
    if array.dtype.kind == "f":
        return np.dtype(np.float32)
    for dtype in (np.uint8, np.int16, np.uint16, np.int32):
        limits = np.iinfo(dtype)
        if limits.min <= int(array.min()) and int(array.max()) <= limits.max:
            return np.dtype(dtype)
    raise ValueError(f"cannot store {array.dtype} from {array.min()} to {array.max()} as NIfTI")


_CHUNK_BYTES = 2**20
_MOST_TRAILING_BYTES = 2**20

Convert = Callable[[np.ndarray], np.ndarray]


def read_voxels(
    stream: BinaryIO, header: NiftiHeader, path: Path, convert: Convert | None
) -> np.ndarray:
    """Read the stored array, to the very end of the file.

    The checksum of a compressed file comes last: damaged voxels are noticed only there.

    Args:
        stream: Behind the header's own bytes.
        header: Of the file.
        path: For error messages.
        convert: Applied to each chunk of stored values; None keeps them, in the byte order of this
            machine. The widest type that it returns is that of the whole.

    Returns:
        `[i, j, k]` as stored, first index fastest.

    Raises:
        UserError: The file ends too early, or unpacks to far more than its header announces.
        EOFError, OSError, zlib.error, igzip_lib.IsalError: It is damaged.
    """
    _skip(stream, header.offset - len(header.fields.binaryblock), path)
    if convert is None:
        values = np.empty(header.voxels, header.dtype)
        _fill(stream, values, path)
        if not header.dtype.isnative:
            values = values.byteswap(inplace=True).view(header.dtype.newbyteorder("="))
    else:
        values = _converted(stream, header, path, convert)
    _check_end(stream, header, path)
    return values.reshape(header.shape, order="F")


def to_float32(chunk: np.ndarray) -> np.ndarray:
    """Change the type; numbers beyond its range become infinite."""
    with np.errstate(over="ignore"):
        return chunk.astype(np.float32)


def _converted(stream: BinaryIO, header: NiftiHeader, path: Path, convert: Convert) -> np.ndarray:
    chunk = np.empty(_CHUNK_BYTES // header.dtype.itemsize, header.dtype)
    values = np.empty(0, np.bool_)
    for start in range(0, header.voxels, len(chunk)):
        stored = chunk[: header.voxels - start]
        _fill(stream, stored, path)
        part = convert(stored)
        if start == 0:
            values = np.empty(header.voxels, part.dtype)
        values = values.astype(np.promote_types(values.dtype, part.dtype), copy=False)
        values[start : start + len(part)] = part
    return values


def _fill(stream: BinaryIO, array: np.ndarray, path: Path) -> None:
    left = array.view(np.uint8)
    while len(left):
        count = stream.readinto(left[:_CHUNK_BYTES])  # type: ignore[attr-defined]
        if not count:
            raise UserError(
                f"{path} is too short: it ends {len(left)} bytes before its last voxel. "
                "Copy or download it again."
            )
        left = left[count:]


def _skip(stream: BinaryIO, count: int, path: Path) -> None:
    while count:
        skipped = len(stream.read(min(count, _CHUNK_BYTES)))
        if not skipped:
            raise UserError(f"{path} is too short: it ends in its header. Copy it again.")
        count -= skipped


def _check_end(stream: BinaryIO, header: NiftiHeader, path: Path) -> None:
    if not path.name.endswith(".gz"):
        return
    left = _MOST_TRAILING_BYTES
    while chunk := stream.read(_CHUNK_BYTES):
        left -= len(chunk)
        if left < 0:
            raise UserError(
                f"{path} unpacks to far more than the {header.voxels * header.dtype.itemsize} "
                "bytes of voxels its header announces. The file is broken; export it again."
            )

"""Read NIfTI volumes, refuse broken files, and write arrays onto the grid of a volume."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.nifti_header import NiftiHeader, open_nifti
from medusis_tf.data.volumes.suffixes import has_nifti_name
from medusis_tf.data.volumes.volume import (
    Volume,
    affine_in_order,
    axis_codes,
    from_lps,
    lps_grid,
    to_lps,
)
from medusis_tf.data.volumes.voxel_values import WholeNumbers, check_finite
from medusis_tf.errors import UserError
from medusis_tf.files import replacing

# The fields that define the grid. No other field of a source header is copied into our files.
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


def read_volume(path: Path | str, config: ReadingConfig = _READING) -> Volume:
    """Read an image.

    Args:
        path: NIfTI file.
        config: Reading options.

    Returns:
        The stored values in their stored type. Values of 64 bits become float32, the type of all
        intensities, because two copies of them would not fit into the memory of a worker.

    Raises:
        UserError: The file is missing or broken, is not a 3-D volume with a known orientation, or
            has non-finite values.
    """
    path = Path(path)
    with open_nifti(path, config) as (header, stream):
        convert = to_float32 if header.dtype.itemsize > 4 else None
        values = read_voxels(stream, header, path, convert)
    flat = values.reshape(-1, order="F")
    warnings = check_finite(flat, header.slope, header.intercept, path, config.not_finite)
    return _volume(values, header, path, header.slope, header.intercept, warnings)


def read_label_map(path: Path | str, config: ReadingConfig = _READING) -> Volume:
    """Read a label map.

    Integers of up to 16 bits are kept as stored if the header has no scale factor. All other
    values become int16, or int32 if the ids need it; values within 0.001 of an integer are rounded
    to it.

    Args:
        path: NIfTI file.
        config: Reading options.

    Raises:
        UserError: As for `read_volume`, or the values are not integers of 32 bits.
    """
    path = Path(path)
    with open_nifti(path, config) as (header, stream):
        unscaled = (header.slope, header.intercept) == (1.0, 0.0)
        small = header.dtype.kind in "iu" and header.dtype.itemsize <= 2
        ids = WholeNumbers(header.slope, header.intercept, config.not_finite)
        values = read_voxels(stream, header, path, None if unscaled and small else ids)
        warnings = ids.check(path, header.voxels)
    return _volume(values, header, path, warnings=warnings)


def read_grid(path: Path | str, config: ReadingConfig = _READING) -> Grid:
    """Read the voxel positions, from the header only.

    Args:
        path: NIfTI file.
        config: Reading options.

    Raises:
        UserError: The header cannot be read or is invalid.
    """
    path = Path(path)
    with open_nifti(path, config) as (header, _):
        return Grid(*lps_grid(header.shape, header.affine), path, axis_codes(header.affine))


def _volume(
    values: np.ndarray,
    header: NiftiHeader,
    path: Path,
    slope: float = 1.0,
    intercept: float = 0.0,
    warnings: tuple[str, ...] = (),
) -> Volume:
    array, affine = to_lps(values, header.affine)
    axes = axis_codes(header.affine)
    return Volume(array, affine, path, slope, intercept, axes, header.warnings + warnings)


def write_volume(
    path: Path | str,
    array: np.ndarray,
    reference: Path | str | Grid,
    description: str = DESCRIPTION,
    config: ReadingConfig = _READING,
) -> None:
    """Write an LPS array with the affine and axis order of another volume.

    From the header of a reference file, only the grid is copied: no text, no extensions. An
    existing file is replaced only when the new one is complete.

    Args:
        path: File to write, ending in `.nii` or `.nii.gz`.
        array: `[x, y, z]`, of the shape that the reference has in LPS order. Floats are stored as
            float32, integers and booleans as the smallest of uint8, int16, uint16 and int32.
        reference: NIfTI file, or grid of a volume of any format.
        description: Text of the header field `descrip`, at most 79 bytes.
        config: Reading options for the reference.

    Raises:
        UserError: The reference cannot be read, `path` cannot be written or is not a NIfTI name.
        ValueError: The shapes of array and reference differ.
    """
    path = Path(path)
    if not has_nifti_name(path):
        raise UserError(f"{path} must end in .nii or .nii.gz. Give another file name.")
    header, affine, shape = _empty_header(reference, config)
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
    image = kind(stored, affine, header)
    if isinstance(reference, Grid):
        # An affine that equals the default of an empty header would not be written. Set in the
        # header before, it would cost the voxel sizes.
        image.set_qform(affine, "unknown")
        image.set_sform(affine, "aligned")
    _save(image, path)


def _empty_header(
    reference: Path | str | Grid, config: ReadingConfig
) -> tuple[Any, np.ndarray, tuple[int, int, int]]:
    """A header with the grid of the reference only, its affine, and the LPS shape."""
    if isinstance(reference, Grid):
        header = nib.Nifti1Header()
        header.set_xyzt_units("mm")
        affine = affine_in_order(reference.axes, reference.shape, reference.affine)
        return header, affine, reference.shape
    with open_nifti(Path(reference), config) as (source, _):
        header = type(source.fields)()
        header["pixdim"][:4] = source.fields["pixdim"][:4]
        for field in _GRID_FIELDS:
            header[field] = source.fields[field]
        return header, source.affine, lps_grid(source.shape, source.affine)[0]


def _save(image: Any, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            nib.save(image, temporary)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}. Check the folder and the free space."
        ) from None


def _storage_dtype(array: np.ndarray) -> np.dtype:
    if array.dtype.kind == "f":
        return np.dtype(np.float32)
    for dtype in (np.uint8, np.int16, np.uint16, np.int32):
        limits = np.iinfo(dtype)
        if limits.min <= int(array.min()) and int(array.max()) <= limits.max:
            return np.dtype(dtype)
    raise ValueError(f"cannot store {array.dtype} from {array.min()} to {array.max()} as NIfTI")


_CHUNK_BYTES = 2**20
_MAX_TRAILING_BYTES = 2**20

Convert = Callable[[np.ndarray], np.ndarray]


def read_voxels(
    stream: BinaryIO, header: NiftiHeader, path: Path, convert: Convert | None
) -> np.ndarray:
    """Read the stored array, and the rest of the file.

    The checksum of a compressed file comes last, so damaged voxels are detected only at the end.

    Args:
        stream: File, positioned after the header fields.
        header: Header of the file.
        path: Source file, for error messages.
        convert: Function applied to each chunk of stored values; the result has the widest type it
            returns. None keeps the values, in the byte order of this machine.

    Returns:
        `[i, j, k]` as stored, first index fastest.

    Raises:
        UserError: The file ends too early, or has far more data than its header announces.
        EOFError, OSError, zlib.error, igzip_lib.IsalError: The file is damaged.
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
    """Convert to float32; values beyond its range become infinite."""
    with np.errstate(over="ignore"):
        return chunk.astype(np.float32)


def _converted(stream: BinaryIO, header: NiftiHeader, path: Path, convert: Convert) -> np.ndarray:
    chunk = np.empty(_CHUNK_BYTES // header.dtype.itemsize, header.dtype)
    values = np.empty(0, np.bool_)
    for start in range(0, header.voxels, len(chunk)):
        stored = chunk[: header.voxels - start]
        _fill(stream, stored, path)
        converted = convert(stored)
        if start == 0:
            values = np.empty(header.voxels, converted.dtype)
        values = values.astype(np.promote_types(values.dtype, converted.dtype), copy=False)
        values[start : start + len(converted)] = converted
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
    if not path.name.lower().endswith(".gz"):
        return
    left = _MAX_TRAILING_BYTES
    while chunk := stream.read(_CHUNK_BYTES):
        left -= len(chunk)
        if left < 0:
            raise UserError(
                f"{path} unpacks to far more than the {header.voxels * header.dtype.itemsize} "
                "bytes of voxels its header announces. The file is broken; export it again."
            )

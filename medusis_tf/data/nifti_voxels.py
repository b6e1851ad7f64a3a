"""Read the voxels of a NIfTI file in one pass, within a fixed amount of memory beside them."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from medusis_tf.data.nifti_header import NiftiHeader
from medusis_tf.errors import UserError

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

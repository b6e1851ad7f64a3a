"""Files of prepared slices: one NumPy array per kind, which is mapped into memory.

    label_map.npy   `[slices, height, width]` uint8 class ids
    image.npy       `[slices, height, width]` little-endian uint16: 0 stands for -1, 65535 for 1
    body_mask.npy   `[slices, bytes]` uint8, eight pixels per byte, the first in the highest bit

Earlier versions wrote the same bytes as TFRecord files, one record per slice. `map_slices` still
opens these. `prepare_shards` rewrites them before training.
"""

import hashlib
import io
import mmap
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medusis_tf.data.shards.manifest import FileRecord, Kind
from medusis_tf.errors import UserError

IMAGE_LEVELS = 65535

_COPY_BYTES = 2**22
_MAP_NORESERVE = 0x4000  # of Linux; Python's mmap does not define it
# A TFRecord is its length, a checksum of the length, the data, and a checksum of the data:
# https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
_TFRECORD_HEADER_BYTES = 12
_TFRECORD_FOOTER_BYTES = 4


@dataclass(frozen=True)
class SliceLayout:
    """How a slice of one kind is stored.

    Attributes:
        kind: Kind of the slice.
        dtype: Type of the stored values.
        shape: Shape of one slice.
    """

    kind: Kind
    dtype: np.dtype
    shape: tuple[int, ...]

    @classmethod
    def of(cls, kind: Kind, image_size: tuple[int, int]) -> "SliceLayout":
        """Layout of a kind of slices with `image_size` rows and columns."""
        if kind == "body_mask":
            return cls(kind, np.dtype(np.uint8), (-(-image_size[0] * image_size[1] // 8),))
        return cls(kind, np.dtype("<u2" if kind == "image" else np.uint8), image_size)

    @property
    def slice_bytes(self) -> int:
        """Size of one slice in bytes."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


def slice_file(folder: Path, kind: Kind) -> Path:
    """Path of the slices of one kind; a TFRecord file if an earlier version wrote the folder."""
    path = folder / f"{kind}.npy"
    earlier = path.with_suffix(".tfrecord")
    return earlier if not path.exists() and earlier.exists() else path


def write_slices(
    folder: Path, layout: SliceLayout, parts: Iterable[np.ndarray], count: int
) -> FileRecord:
    """Write arrays one after the other to one file.

    Args:
        folder: Folder of the file.
        layout: Layout of the slices.
        parts: Arrays of slices, `[slices, ...]`. Only one is held at a time.
        count: Number of slices in all parts.

    Returns:
        Name, checksum and size of the file.

    Raises:
        OSError: The disk refuses.
    """
    path = folder / f"{layout.kind}.npy"
    header = io.BytesIO()
    shape = (count, *layout.shape)
    np.lib.format.write_array_header_1_0(
        header, {"descr": layout.dtype.str, "fortran_order": False, "shape": shape}
    )
    digest, size = hashlib.sha256(header.getvalue()), len(header.getvalue())
    with path.open("wb") as file:
        file.write(header.getvalue())
        for chunk in _chunks(parts, layout):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    if size != len(header.getvalue()) + count * layout.slice_bytes:
        raise ValueError(f"{path} was declared with {count} slices but given another number")
    return FileRecord(path=Path(path.name), sha256=digest.hexdigest(), bytes=size)


def map_slices(path: Path, layout: SliceLayout) -> np.ndarray:
    """Map the slices of a file into memory, without reading them.

    Returns:
        `[slices, ...]`, read-only.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is damaged or has another layout.
    """
    if path.suffix == ".tfrecord":
        return _map_tfrecords(path, layout)
    slices = np.load(path, mmap_mode="r")
    if slices.shape[1:] != layout.shape or slices.dtype != layout.dtype:
        raise ValueError(f"{path} holds {slices.dtype} {slices.shape}, not slices of {layout}")
    return slices


def map_shared(path: Path) -> np.ndarray:
    """Map the slices of a `.npy` file such that TensorFlow can share the memory.

    TensorFlow shares only writable memory, so writing would change a private copy. Linux reserves
    memory of the file's size for such a mapping, and by default refuses files larger than the
    memory. Nothing is written here.

    Raises:
        UserError: An earlier version wrote the file.
        OSError: The file cannot be opened.
        ValueError: It is damaged.
    """
    if path.suffix == ".tfrecord":
        raise UserError(f"{path} was written by an earlier version. Run `prepare` again.")
    slices = np.load(path, mmap_mode="r")
    flags = mmap.MAP_PRIVATE | (_MAP_NORESERVE if sys.platform == "linux" else 0)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, flags, mmap.PROT_READ | mmap.PROT_WRITE)
    return np.frombuffer(mapped, slices.dtype, slices.size, slices.offset).reshape(slices.shape)


def _chunks(parts: Iterable[np.ndarray], layout: SliceLayout) -> Iterator[bytes]:
    """The slices of all parts, a few megabytes at a time."""
    step = max(1, _COPY_BYTES // layout.slice_bytes)
    for part in parts:
        for first in range(0, len(part), step):
            yield np.asarray(part[first : first + step], layout.dtype).tobytes()


def _map_tfrecords(path: Path, layout: SliceLayout) -> np.ndarray:
    if path.stat().st_size == 0:  # cannot be mapped
        return np.zeros((0, *layout.shape), layout.dtype)
    framed = _TFRECORD_HEADER_BYTES + layout.slice_bytes + _TFRECORD_FOOTER_BYTES
    records = np.memmap(path, np.uint8, mode="r").reshape(-1, framed)
    slices = records[:, _TFRECORD_HEADER_BYTES:-_TFRECORD_FOOTER_BYTES]
    return slices.view(layout.dtype).reshape(-1, *layout.shape)

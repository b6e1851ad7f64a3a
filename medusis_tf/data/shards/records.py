"""Files of equally long records, framed as TFRecord.

Written without TensorFlow, which a worker process would need half a gigabyte for, and read at any
place by memory mapping. Each record is its length (uint64), the masked CRC-32C of that, the data,
and the masked CRC-32C of the data:
https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details
"""

import hashlib
import mmap
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import google_crc32c
import numpy as np

HEADER_BYTES = 12
FOOTER_BYTES = 4
FRAME_BYTES = HEADER_BYTES + FOOTER_BYTES
_COPY_BYTES = 2**22
_MAP_NORESERVE = 0x4000  # of Linux; Python's mmap does not name it


def write_records(path: Path, records: Iterable[bytes]) -> None:
    """Write records, each framed, to a new file."""
    with path.open("wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            file.write(length + _masked_crc(length))
            file.write(record)
            file.write(_masked_crc(record))


def map_records(path: Path, record_bytes: int) -> np.ndarray:
    """The data of all records, `[records, record_bytes]` uint8, mapped into memory, not read."""
    framed = record_bytes + FRAME_BYTES
    if path.stat().st_size == 0:
        return np.zeros((0, record_bytes), np.uint8)
    records = np.memmap(path, np.uint8, mode="r").reshape(-1, framed)
    return records[:, HEADER_BYTES:-FOOTER_BYTES]


def map_framed(path: Path, record_bytes: int) -> np.ndarray:
    """All records, `[records, framed bytes]` uint8, mapped so that writing would change a copy.

    TensorFlow shares memory only if it may be written. For such a mapping Linux sets aside memory
    of the file's size, and refuses files larger than that, unless told not to: nobody writes here.
    """
    flags = mmap.MAP_PRIVATE | (_MAP_NORESERVE if sys.platform == "linux" else 0)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, flags, mmap.PROT_READ | mmap.PROT_WRITE)
    return np.frombuffer(mapped, np.uint8).reshape(-1, record_bytes + FRAME_BYTES)


def read_chunks(path: Path, start: int, count: int) -> Iterator[bytes]:
    """`count` bytes of a file from `start` on, framing and all, a few megabytes at a time.

    Raises:
        OSError: The file is too short.
    """
    with path.open("rb") as file:
        file.seek(start)
        while count > 0:
            chunk = file.read(min(count, _COPY_BYTES))
            if not chunk:
                raise OSError(f"{path} ends before its last record")
            yield chunk
            count -= len(chunk)


def sha256_of(path: Path) -> str:
    """Checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_all(digests: Sequence[str]) -> str:
    """One checksum of several, in the order given."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _masked_crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

"""DICOM files: which files are DICOM, how they are opened, and what pydicom raises."""

import importlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medusis_tf.errors import UserError

_META_GROUP = 2
# Elements of group 8 that may come first in a file without a preamble.
_LAST_OF_GROUP, _LONGEST_FIRST = 0x0060, 1024


def import_pydicom(module: str = "pydicom") -> Any:
    """Import the optional library pydicom, or one of its modules.

    Raises:
        UserError: pydicom is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise UserError(
            "reading DICOM needs pydicom. Install it: pip install 'medusis_tf[dicom]'."
        ) from None


def is_dicom(path: Path) -> bool:
    """Whether a file starts with the DICOM prefix or, without it, with a DICOM data element."""
    with path.open("rb") as file:
        start = file.read(132)
    return start[128:] == b"DICM" or _starts_with_element(start)


def _starts_with_element(start: bytes) -> bool:
    """Whether bytes start with an element of group 2 or 8, as files without a preamble do."""
    group, number = int.from_bytes(start[:2], "little"), int.from_bytes(start[2:4], "little")
    if len(start) < 132 or group not in (_META_GROUP, 8) or number > _LAST_OF_GROUP:
        return False
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    return explicit or int.from_bytes(start[4:8], "little") <= _LONGEST_FIRST


@contextmanager
def open_dicom(path: Path) -> Iterator[Any]:
    """Open a file for pydicom, which refuses files without a preamble.

    Yields:
        The path, or a copy in memory with a preamble and a meta header.
    """
    with path.open("rb") as file:
        start = file.read(132)
        if start[128:] == b"DICM":
            yield path
            return
        content = start + file.read()
    pydicom = import_pydicom()
    with io.BytesIO(bytes(128) + b"DICM") as buffer:
        buffer.seek(0, io.SEEK_END)
        if start[0] != _META_GROUP:
            meta = pydicom.dataset.FileMetaDataset()
            explicit = start[4:6].isalpha()
            uids = pydicom.uid
            meta.TransferSyntaxUID = (
                uids.ExplicitVRLittleEndian if explicit else uids.ImplicitVRLittleEndian
            )
            pydicom.filewriter.write_file_meta_info(buffer, meta, enforce_standard=False)
        buffer.write(content)
        buffer.seek(0)
        yield buffer


@contextmanager
def dicom_errors(path: Path) -> Iterator[None]:
    """Turn any exception of pydicom into a `UserError` with the file, and silence its warnings."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except Exception as error:  # pydicom raises many types, such as AttributeError and KeyError
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(
            f"{path} cannot be read as DICOM: {reason}. Copy or export it again."
        ) from None

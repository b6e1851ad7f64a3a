"""The named segments of a DICOM segmentation (SEG) or radiotherapy structure set (RTSTRUCT)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from medusis_tf.data.volumes.dicom_files import dicom_errors, import_pydicom, is_dicom, open_dicom
from medusis_tf.data.volumes.grid import Grid

_KINDS: dict[str, Literal["SEG", "RTSTRUCT"]] = {
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
    "1.2.840.10008.5.1.4.1.1.66.7": "SEG",  # label map segmentation
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
}


@dataclass(frozen=True, eq=False)
class SegmentMasks:
    """Named masks on one grid, which may overlap.

    Attributes:
        path: Source file.
        grid: Voxel positions of the masks.
        names: Names in the order of the file; they may repeat.
        mask: Reads a mask by its index: `[x, y, z]` bool, LPS order.
        warnings: Suspicious properties of the file so far; `mask` may add some.
    """

    path: Path
    grid: Grid
    names: tuple[str, ...]
    mask: Callable[[int], np.ndarray]
    warnings: list[str]


def segment_file(path: Path | str) -> tuple[Path, Literal["SEG", "RTSTRUCT"]] | None:
    """The file with segments at a path, and its kind; None for anything else.

    A folder counts if it has one such file: alone, or beside the series that it belongs to.

    Args:
        path: File or folder.

    Raises:
        UserError: A DICOM file cannot be read, or pydicom is missing.
    """
    path = Path(path)
    if path.is_file():
        kind = _kind(path)
        return None if kind is None else (path, kind)
    if not path.is_dir():
        return None
    found = [(file, kind) for file in sorted(path.iterdir()) if (kind := _kind(file)) is not None]
    return found[0] if len(found) == 1 else None


def series_beside(path: Path, folder: Path) -> list[Path]:
    """The other DICOM files of a folder."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file != path)
    return [file for file in files if is_dicom(file)]


def _kind(path: Path) -> Literal["SEG", "RTSTRUCT"] | None:
    if not path.is_file() or path.suffix.lower() in (".nii", ".gz", ".png") or not is_dicom(path):
        return None
    pydicom = import_pydicom()
    with dicom_errors(path), open_dicom(path) as source:
        if source is path:
            found = pydicom.filereader.read_file_meta_info(path).get("MediaStorageSOPClassUID")
        else:
            found = pydicom.dcmread(source, specific_tags=["SOPClassUID"]).get("SOPClassUID")
    return _KINDS.get(str(found))

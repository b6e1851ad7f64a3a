"""Read a volume of any supported format, for all commands.

Formats: NIfTI, NRRD, MetaImage, Analyze and MGH files, a DICOM series, a folder of PNG slices.

`read_volume(path, config)` reads an image: stored values in LPS order, all of them finite, with
their scale. `read_label_map` reads integers of at most 32 bits. `read_grid` reads only the voxel
positions, from headers. Folders of masks and named segments (DICOM SEG, RTSTRUCT) are read by
`medusis_tf.data.labels.remapping.read_masks` and `labels.segments.read_segments`. For a path that
cannot be read, all raise `UserError` and nothing else.
"""

from pathlib import Path
from typing import Protocol

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes import dicom, itk, nibabel_formats, nifti, png_slices
from medusis_tf.data.volumes.dicom_files import is_dicom
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.stored_array import StoredArrayReader
from medusis_tf.data.volumes.suffixes import (
    ITK_SUFFIXES,
    NIBABEL_SUFFIXES,
    has_nifti_name,
    has_volume_name,
)
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError

_READING = ReadingConfig()
_ITK = StoredArrayReader(itk.open_file)
_NIBABEL = StoredArrayReader(nibabel_formats.open_file)
_READABLE = (
    "Supported are a .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd, .hdr with .img, .mgh or .mgz file, a "
    "folder with the DICOM files of one series, and a folder of PNG slices"
)
# Files that stand for others in a repository, by their first bytes.
_POINTERS = {
    "git-annex": (b"annex/objects/", "datalad get, or git annex get"),
    "Git LFS": (b"version https://git-lfs", "git lfs pull"),
}


class _Reader(Protocol):
    """A module or object that reads volumes of one kind of format."""

    def read_volume(self, path: Path | str, config: ReadingConfig) -> Volume: ...

    def read_label_map(self, path: Path | str, config: ReadingConfig) -> Volume: ...

    def read_grid(self, path: Path | str, config: ReadingConfig) -> Grid: ...


def read_volume(path: Path | str, config: ReadingConfig = _READING) -> Volume:
    """Read an image.

    Args:
        path: File or folder.
        config: Reading options.

    Returns:
        `array` has the stored type if that has at most 32 bits; see the reader of each format.

    Raises:
        UserError: States the path, the problem and the remedy.
    """
    return _reader(path).read_volume(path, config)


def read_label_map(path: Path | str, config: ReadingConfig = _READING) -> Volume:
    """Read a label map: small integers as stored, all others as int16 or int32.

    Float or scaled values within 0.001 of an integer are rounded to it.

    Args:
        path: File or folder.
        config: Reading options.

    Raises:
        UserError: States the path, the problem and the remedy.
    """
    return _reader(path).read_label_map(path, config)


def read_grid(path: Path | str, config: ReadingConfig = _READING) -> Grid:
    """Read the voxel positions of a volume, from headers only.

    Args:
        path: File or folder.
        config: Reading options.

    Raises:
        UserError: States the path, the problem and the remedy.
    """
    return _reader(path).read_grid(path, config)


def _reader(path: Path | str) -> _Reader:
    path = Path(path)
    try:
        if path.is_dir():
            return _folder_reader(path)
        if path.is_file():
            _check_pointer(path)
            return nifti if has_nifti_name(path) else _file_reader(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
    return nifti


def _check_pointer(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(64)
    for tool, (mark, command) in _POINTERS.items():
        if start.lstrip(b"./").startswith(mark):
            raise UserError(
                f"{path} is a pointer of {tool}, not the volume itself. Fetch it: {command}."
            )


def _file_reader(path: Path) -> _Reader:
    if path.name.lower().endswith(ITK_SUFFIXES):
        return _ITK
    if path.name.lower().endswith(NIBABEL_SUFFIXES):
        return _NIBABEL
    if is_dicom(path):
        return dicom
    raise UserError(
        f"{path} is not named like a volume, and is not DICOM. {_READABLE}. Convert or rename it."
    )


def _folder_reader(path: Path) -> _Reader:
    files = [entry for entry in path.iterdir() if entry.is_file()]
    has_png = any(png_slices.is_png(file) for file in files)
    has_dicom = any(is_dicom(file) for file in files)
    if has_png and has_dicom:
        raise UserError(f"{path} has both PNG and DICOM files. Remove one kind.")
    if has_png or has_dicom:
        return png_slices if has_png else dicom
    if any(has_volume_name(file) for file in files):
        raise UserError(
            f"{path} is a folder of volumes. Give one of the files; only a folder of one-class "
            "masks can be given as a whole, as a label map."
        )
    raise UserError(f"{path} is a folder without volumes. {_READABLE}.")

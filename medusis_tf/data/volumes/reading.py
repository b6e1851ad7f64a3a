"""Read a volume from whatever holds it: a NIfTI file, a DICOM series, a folder of PNG slices.

`read_volume(path, config)` gives an image: the stored numbers in LPS order with their scale, all
of them finite. `read_label_map` gives whole numbers of at most 32 bits. `read_grid` gives only
where the voxels lie, from headers alone. All raise `UserError`, and nothing else, about a path
that cannot be read.
"""

from pathlib import Path
from types import ModuleType

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes import dicom, nifti, png_slices
from medusis_tf.data.volumes.dicom_frames import is_dicom
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.nifti_header import SUFFIXES
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError

_READING = ReadingConfig()
_READABLE = (
    "Can be read: a .nii or .nii.gz file, a folder with the DICOM files of one series, "
    "a folder of PNG slices"
)


def read_volume(path: Path, config: ReadingConfig = _READING) -> Volume:
    """Read an image.

    Returns:
        `array` of the stored type where that is up to 32 bits; see the reader of each format.

    Raises:
        UserError: Names the path, what is wrong and what to do.
    """
    return _reader(path).read_volume(path, config)


def read_label_map(path: Path, config: ReadingConfig = _READING) -> Volume:
    """Read a label map: small integers as stored, others as int16 or int32.

    Numbers within 0.001 of an integer, floats or scaled ones, are rounded to it.

    Raises:
        UserError: Names the path, what is wrong and what to do.
    """
    return _reader(path).read_label_map(path, config)


def read_grid(path: Path, config: ReadingConfig = _READING) -> Grid:
    """Read where the voxels of a volume lie, from headers alone.

    Raises:
        UserError: Names the path, what is wrong and what to do.
    """
    return _reader(path).read_grid(path, config)


def _reader(path: Path) -> ModuleType:
    try:
        if path.is_dir():
            return _folder_reader(path)
        if path.is_file() and not path.name.endswith(SUFFIXES):
            return _file_reader(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.") from None
    return nifti


def _file_reader(path: Path) -> ModuleType:
    if is_dicom(path):
        return dicom
    raise UserError(
        f"{path} is not named .nii or .nii.gz, and is not DICOM. {_READABLE}. Convert or rename it."
    )


def _folder_reader(path: Path) -> ModuleType:
    files = [entry for entry in path.iterdir() if entry.is_file()]
    stack = any(png_slices.is_png(file) for file in files)
    series = any(is_dicom(file) for file in files)
    if stack and series:
        raise UserError(f"{path} holds both PNG and DICOM files. Take one of them out.")
    if stack or series:
        return png_slices if stack else dicom
    if any(file.name.endswith(SUFFIXES) for file in files):
        raise UserError(
            f"{path} is a folder of NIfTI files. Name one of them; only a folder of one-class "
            "masks can be given whole, as a label map."
        )
    raise UserError(f"{path} is a folder without volumes. {_READABLE}.")

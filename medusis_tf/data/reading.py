"""Read a volume from whatever holds it: a NIfTI file, a DICOM series, a folder of PNG slices."""

from pathlib import Path

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data import nifti
from medusis_tf.data.grid import Grid
from medusis_tf.data.volume import Volume

_READING = ReadingConfig()


def read_volume(path: Path, config: ReadingConfig = _READING) -> Volume:
    """Read an image; see `nifti.read_volume` for what is promised."""
    return nifti.read_volume(path, config)


def read_label_map(path: Path, config: ReadingConfig = _READING) -> Volume:
    """Read a label map; see `nifti.read_label_map` for what is promised."""
    return nifti.read_label_map(path, config)


def read_grid(path: Path, config: ReadingConfig = _READING) -> Grid:
    """Read where the voxels of a volume lie, without its voxels."""
    return nifti.read_grid(path, config)

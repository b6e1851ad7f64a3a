"""Small NIfTI files, volumes and configurations for the tests."""

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel import orientations

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.volumes.volume import Volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
AXIS_ORDERS = [
    "".join(first + second + third)
    for first in "LRAPSI"
    for second in "LRAPSI"
    for third in "LRAPSI"
    if len({"LR" if c in "LR" else "AP" if c in "AP" else "SI" for c in first + second + third})
    == 3
]


def lps_affine(spacing: tuple[float, float, float] = (1, 1, 1), origin: Any = (0, 0, 0)):
    """Affine of an LPS array with its first voxel at `origin`, RAS+ millimetres."""
    affine = LPS @ np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return affine


def rotated(affine: np.ndarray, z: float = 0, y: float = 0, x: float = 0) -> np.ndarray:
    """The affine rotated about the axes of the world; angles in radians."""
    rotation = np.eye(4)
    rotation[:3, :3] = nib.eulerangles.euler2mat(z, y, x)
    return rotation @ affine


def volume(array: Any, spacing=(1, 1, 1), origin=(0, 0, 0), name: str = "v.nii.gz") -> Volume:
    return Volume(np.asarray(array), lps_affine(spacing, origin), Path(name))


def write_nifti(
    path: Path, array: np.ndarray, affine: np.ndarray | None = None, axes: str = "LPS"
) -> Path:
    """Write an LPS array in any axis order."""
    affine = lps_affine() if affine is None else affine
    transform = orientations.ornt_transform(
        orientations.axcodes2ornt("LPS"), orientations.axcodes2ornt(tuple(axes))
    )
    stored = orientations.apply_orientation(array, transform)
    placed = affine @ orientations.inv_ornt_aff(transform, array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(stored, placed), path)
    return path


def edit_nifti(path: Path, **fields: Any) -> Path:
    """Overwrite header fields of a valid NIfTI-1 file, also with invalid values."""
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as file:
        content = file.read()
    header = nib.Nifti1Header(content[:348], check=False)
    for name, value in fields.items():
        header[name] = value
    with opener(path, "wb") as file:
        file.write(header.binaryblock + content[348:])
    return path


def phantom_experiment(root: Path, cache: Path, subjects: Any, **data: Any) -> ExperimentConfig:
    """The tiny experiment on the subjects of a phantom."""
    from tests.training.tiny_experiment import tiny_experiment  # starts TensorFlow

    values = {
        "root": str(root),
        "cache_dir": str(cache),
        "subjects": [entry.model_dump(mode="json") for entry in subjects],
        "field_of_view_mm": [160, 160],
        **data,
    }
    return tiny_experiment(data=values)


def changed_data(config: ExperimentConfig, **data: Any) -> ExperimentConfig:
    """A copy with other settings in the data section, without validation."""
    return config.model_copy(update={"data": config.data.model_copy(update=data)})

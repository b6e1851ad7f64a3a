"""File name suffixes of NIfTI volumes."""

from pathlib import Path

NIFTI_SUFFIXES = (".nii.gz", ".nii")


def has_nifti_name(path: Path) -> bool:
    """Whether a file name ends in `.nii` or `.nii.gz`."""
    return path.name.endswith(NIFTI_SUFFIXES)


def split_nifti_name(path: Path) -> tuple[str, str]:
    """Split a file name into stem and suffix: `a.b.nii.gz` into `a.b` and `.nii.gz`.

    Raises:
        ValueError: The name does not end in `.nii` or `.nii.gz`.
    """
    for suffix in NIFTI_SUFFIXES:
        if path.name.endswith(suffix):
            return path.name.removesuffix(suffix), suffix
    raise ValueError(f"expected a NIfTI file name. Received: {path}")

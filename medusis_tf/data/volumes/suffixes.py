"""File name suffixes of volumes that are files; any case is accepted."""

from pathlib import Path

NIFTI_SUFFIXES = (".nii.gz", ".nii")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
NIBABEL_SUFFIXES = (".hdr", ".img", ".mgz", ".mgh")
VOLUME_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES + NIBABEL_SUFFIXES


def has_nifti_name(path: Path) -> bool:
    """Whether a file name ends in `.nii` or `.nii.gz`."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def has_volume_name(path: Path) -> bool:
    """Whether a file name ends in the suffix of a format that is read, DICOM and PNG aside."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def split_nifti_name(path: Path) -> tuple[str, str]:
    """Split a file name into stem and suffix: `a.b.nii.gz` into `a.b` and `.nii.gz`.

    Raises:
        ValueError: The name does not end in `.nii` or `.nii.gz`.
    """
    if not has_nifti_name(path):
        raise ValueError(f"expected a NIfTI file name. Received: {path}")
    return split_volume_name(path)


def split_volume_name(path: Path) -> tuple[str, str]:
    """Split the file name of a volume of any format into stem and suffix.

    Raises:
        ValueError: The name does not end in a suffix of a volume.
    """
    for suffix in VOLUME_SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)], path.name[-len(suffix) :]
    raise ValueError(f"expected the file name of a volume. Received: {path}")

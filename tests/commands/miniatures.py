"""Public data sets in their published layout, with volumes of 4x4x4 voxels."""

import json
from pathlib import Path

import numpy as np

from tests.data.volume_files import write_nifti

STUDIES = {
    "PETCT_0a": ["01-02-2003-NA-PET-CT Ganzkoerper  primaer mit KM-11111"],
    "PETCT_1b": [
        "03-04-2004-NA-PET-CT Teilkoerper-22222",
        "05-06-2005-NA-PET-CT Teilkoerper-33333",
        "07-08-2006-NA-PET-CT Teilkoerper-44444",
    ],
    "PETCT_2c": ["09-10-2007-NA-PET-CT Teilkoerper-55555"],
    "PETCT_3d": ["11-12-2008-NA-PET-CT Teilkoerper-66666"],
}


def volumes(*paths: Path) -> None:
    """Write a small integer volume to each path."""
    for path in paths:
        write_nifti(path, np.arange(64, dtype=np.int16).reshape(4, 4, 4) % 3)


def synthrad2023(root: Path, patients: int = 10, region: str = "pelvis", maps: bool = True) -> Path:
    """Write SynthRAD2023 Task 1, with label maps beside the volumes if `maps`."""
    for number in range(patients):
        folder = root / "Task1" / region / f"1{region[0].upper()}A{number:03d}"
        volumes(*(folder / f"{name}.nii.gz" for name in ("mr", "ct", "mask")))
        if maps:
            volumes(folder / "label_map.nii.gz")
    overview = root / "Task1" / region / "overview"
    overview.mkdir()
    (overview / "1PA000_train.png").touch()
    return root


def autopet_first(root: Path, maps: bool = True) -> Path:
    """Write AutoPET I: a folder per patient with a folder per study."""
    for patient, studies in STUDIES.items():
        for study in studies:
            folder = root / "FDG-PET-CT-Lesions" / patient / study
            volumes(*(folder / f"{name}.nii.gz" for name in ("CT", "CTres", "PET", "SUV", "SEG")))
            if maps:
                volumes(folder / "label_map.nii.gz")
    return root


def autopet_third(root: Path, lesions: bool = True) -> Path:
    """Write AutoPET III, in the layout of nnU-Net, with tumour lesions or label maps as labels."""
    for patient, studies in STUDIES.items():
        for study in studies:
            case = f"{patient.replace('PETCT', 'fdg')}_{study}"
            volumes(root / "imagesTr" / f"{case}_0000.nii.gz")
            volumes(root / "imagesTr" / f"{case}_0001.nii.gz")
            volumes(root / "labelsTr" / f"{case}.nii.gz")
    if lesions:
        (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "tumor": 1}}))
    return root


def autopet_of_the_thesis(root: Path, cases: int = 6) -> Path:
    """Write the CT and label map of every case to one folder."""
    for number in range(cases):
        volumes(root / f"case_{number}_0001.nii.gz", root / f"case_{number}_0002.nii.gz")
    return root

"""List the thigh experiment: `medusis prepare-thigh --root DIR`.

Volumes of the IBSI validation data (github.com/theibsi/data_sets, `ibsi_validation/nifti`, CC BY
3.0): `sts_ct_mr/STS_NNN/{CT_image,CT_mask,MR_T1_image}.nii.gz`. Training uses tissue label maps
from the CT of some patients and T1 MR of others. The test patients have both.
"""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from medusis_tf.datasets import Config, Out, Root, Subjects, check_root, finish
from medusis_tf.errors import UserError

CT, TUMOUR, MR = "CT_image.nii.gz", "CT_mask.nii.gz", "MR_T1_image.nii.gz"


def prepare_thigh(
    root: Root,
    out: Out = None,
    label_maps: Annotated[
        str, typer.Option(help="Training patients with label maps from their CT.")
    ] = "STS_034,STS_038",
    images: Annotated[
        str, typer.Option(help="Training patients with MR images.")
    ] = "STS_050,STS_006,STS_029",
    test: Annotated[str, typer.Option(help="Test patients.")] = "STS_048",
    config: Config = None,
) -> None:
    """Write the subject list of the thigh experiment; by default that of thigh_ct_to_mr.yaml."""
    check_root(root)
    roles = [re.split(r",\s*", names) for names in (label_maps, images, test)]
    subjects = list_thigh(root, *roles)
    finish(out or root / "thigh.csv", subjects, root, config, "configs/thigh_ct_to_mr.yaml")


def list_thigh(root: Path, label_maps: list[str], images: list[str], test: list[str]) -> Subjects:
    """Return the subjects of the experiment.

    Args:
        root: Folder that contains `sts_ct_mr`.
        label_maps: Training patients with label maps.
        images: Training patients with images.
        test: Test patients.

    Raises:
        UserError: The root has another layout, a volume is missing, or a patient has two roles.
    """
    folder = "sts_ct_mr"
    if not any((root / folder).glob(f"STS_*/{MR}")):
        raise UserError(
            f"{root} does not contain {folder}/STS_NNN/{MR}. Put the STS_* folders of the IBSI "
            f"validation data (ibsi_validation/nifti) in {folder}/ there."
        )
    roles = [*label_maps, *images, *test]
    if repeated := sorted({name for name in roles if roles.count(name) > 1}):
        raise UserError(
            f"each patient must have one role. Patients with several roles: {', '.join(repeated)}."
        )
    subjects: Subjects = []
    for patient in roles:
        path = f"{folder}/{patient}"
        entry: dict[str, Any] = {"subject": patient, "split": "train"}
        if patient not in images:
            entry.update(ct=f"{path}/{CT}", overlays={"tumour": f"{path}/{TUMOUR}"})
        entry["image"] = f"{path}/{MR}"
        if patient in test:
            entry["split"] = "test"
        elif patient in label_maps:
            # The networks never see this MR: only the class-mean baseline uses it.
            entry["streams"] = ["label_map"]
        subjects.append(entry)
    _check_files(root, subjects)
    return subjects


def _check_files(root: Path, subjects: Subjects) -> None:
    paths = [
        path
        for entry in subjects
        for path in (entry.get("ct"), *entry.get("overlays", {}).values(), entry["image"])
        if path and not (root / path).is_file()
    ]
    if paths:
        raise UserError(
            f"missing in {root}: {', '.join(paths)}. Copy these files, or choose other patients."
        )

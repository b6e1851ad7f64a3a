"""List the thigh experiment: `python -m pipelines.prepare_thigh --root DIR`.

Volumes of the IBSI validation data (github.com/theibsi/data_sets, `ibsi_validation/nifti`, CC BY
3.0): `sts_ct_mr/STS_NNN/{CT_image,CT_mask,MR_T1_image}.nii.gz`. Tissue label maps are made from the
CT of some patients, T1 MR comes from others, and the test patients have both.
"""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from medusis_tf.console import run
from medusis_tf.errors import UserError
from pipelines.data_set import Config, Out, Root, Subjects, check_root, finish

CT, TUMOUR, MR = "CT_image.nii.gz", "CT_mask.nii.gz", "MR_T1_image.nii.gz"


def prepare_thigh(
    root: Root,
    out: Out = None,
    label_maps: Annotated[
        str, typer.Option(help="Patients whose CT gives label maps.")
    ] = "STS_034,STS_038",
    images: Annotated[
        str, typer.Option(help="Patients whose MR gives images.")
    ] = "STS_050,STS_006,STS_029",
    test: Annotated[str, typer.Option(help="Patients to test on.")] = "STS_048",
    config: Config = None,
) -> None:
    """Write the manifest of the thigh experiment, with the roles of configs/thigh_ct_to_mr.yaml."""
    check_root(root)
    roles = [re.split(r",\s*", names) for names in (label_maps, images, test)]
    subjects = list_thigh(root, *roles)
    finish(out or root / "thigh.csv", subjects, root, config, "configs/thigh_ct_to_mr.yaml")


def list_thigh(root: Path, label_maps: list[str], images: list[str], test: list[str]) -> Subjects:
    """The subjects of the experiment, in the order of the roles.

    Raises:
        UserError: The root has another layout, a patient has no such volume or has two roles.
    """
    folder = "sts_ct_mr"
    if not any((root / folder).glob(f"STS_*/{MR}")):
        raise UserError(
            f"{root} does not hold {folder}/STS_NNN/{MR}. Put the STS_* folders of the IBSI "
            f"validation data (ibsi_validation/nifti) in {folder}/ there."
        )
    roles = [*label_maps, *images, *test]
    if repeated := sorted({name for name in roles if roles.count(name) > 1}):
        raise UserError(f"a patient has one role only. Given twice: {', '.join(repeated)}.")
    subjects: Subjects = []
    for patient in roles:
        place = f"{folder}/{patient}"
        entry: dict[str, Any] = {"subject": patient, "split": "train"}
        if patient not in images:
            entry.update(ct=f"{place}/{CT}", overlays={"tumour": f"{place}/{TUMOUR}"})
        entry["image"] = f"{place}/{MR}"
        if patient in test:
            entry["split"] = "test"
        elif patient in label_maps:
            # The MR is never shown to the networks: the class-mean floor alone reads it.
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
        raise UserError(f"missing in {root}: {', '.join(paths)}. Copy them, or choose patients.")


if __name__ == "__main__":
    run(prepare_thigh)

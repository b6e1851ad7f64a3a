"""List SynthRAD2023 Task 1: `medusis prepare-synthrad2023 --root DIR [--region brain]`.

Layout of the data set (doi.org/10.5281/zenodo.7260705; its licence forbids commercial use):
`Task1/<region>/<patient>/{mr,ct,mask}.nii.gz`. Make the label maps of the CT first, with
`medusis segment-ct`.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from medusis_tf.config.subject_globs import expand_globs
from medusis_tf.datasets import (
    Config,
    Disjoint,
    Out,
    Root,
    Seed,
    Shares,
    SkipIncomplete,
    check_root,
    complete,
    finish,
    split_patients,
)
from medusis_tf.errors import UserError


def prepare_synthrad2023(
    root: Root,
    out: Out = None,
    region: Annotated[
        Literal["pelvis", "brain"],
        typer.Option(help="Region of the data set; the thesis uses pelvis."),
    ] = "pelvis",
    label_maps: Annotated[
        str | None,
        typer.Option(
            help="Path pattern of the label maps in the root, with {subject} for the patient; by "
            "default label_map.nii.gz in the folder of the patient."
        ),
    ] = None,
    config: Config = None,
    splits: Shares = (0.8, 0.1, 0.1),
    seed: Seed = 0,
    disjoint: Disjoint = False,
    skip_incomplete: SkipIncomplete = False,
) -> None:
    """Write the subject list of SynthRAD2023 Task 1: label maps of the CT, and MR as images.

    Every patient has both. As in the thesis, label maps and images are drawn independently (pairing
    unpaired) but from the same patients; --disjoint uses different patients.
    """
    check_root(root)
    folder = _region_folder(root, region)
    pattern = label_maps or f"{folder}/{{subject}}/label_map.nii.gz"
    glob = {
        "label_map": pattern,
        "image": f"{folder}/{{subject}}/mr.nii.gz",
        "optional": ["label_map"],
    }
    subjects = complete(expand_globs([glob], root), skip_incomplete, pattern)
    subjects = split_patients(subjects, splits, seed, disjoint)
    name = "synthrad2023.csv" if region == "pelvis" else "synthrad2023_brain.csv"
    finish(out or root / name, subjects, root, config, "configs/synthrad2023_wavelet.yaml")


def _region_folder(root: Path, region: str) -> str:
    candidates = [f"Task1/{region}", region]
    for folder in candidates:
        if any((root / folder).glob("*/mr.nii.gz")):
            return folder
    paths = " nor ".join(f"{folder}/PATIENT/mr.nii.gz" for folder in candidates)
    raise UserError(
        f"{root} is not SynthRAD2023 Task 1 as published: it contains neither {paths}. Give the "
        "folder that contains Task1."
    )

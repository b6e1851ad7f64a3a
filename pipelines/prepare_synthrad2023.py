"""List SynthRAD2023 Task 1: `python -m pipelines.prepare_synthrad2023 --root DIR [--region brain]`.

The data set (doi.org/10.5281/zenodo.7260705; its licence forbids commercial use) as unpacked:
`Task1/<region>/<patient>/{mr,ct,mask}.nii.gz`. Label maps of the CT must have been made before, by
`pipelines.segment_ct`.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

from medusis_tf.config.subject_list import expand_globs
from medusis_tf.console import run
from medusis_tf.errors import UserError
from pipelines.data_set import (
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


def prepare_synthrad2023(
    root: Root,
    out: Out = None,
    region: Annotated[
        Literal["pelvis", "brain"], typer.Option(help="Part of the data set; the thesis: pelvis.")
    ] = "pelvis",
    label_maps: Annotated[
        str | None,
        typer.Option(
            help="Where the label maps lie in the root, with {subject} for the patient; "
            "label_map.nii.gz in the patient's folder if not given."
        ),
    ] = None,
    config: Config = None,
    splits: Shares = (0.8, 0.1, 0.1),
    seed: Seed = 0,
    disjoint: Disjoint = False,
    skip_incomplete: SkipIncomplete = False,
) -> None:
    """Write the manifest of SynthRAD2023 Task 1: label maps of the CT, and MR as images.

    Every patient has both, so streams are independent (pairing unpaired) but show the same
    patients, as in the thesis; --disjoint keeps them apart.
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
    looked_for = [f"Task1/{region}", region]
    for folder in looked_for:
        if any((root / folder).glob("*/mr.nii.gz")):
            return folder
    paths = " nor ".join(f"{folder}/PATIENT/mr.nii.gz" for folder in looked_for)
    raise UserError(
        f"{root} is not SynthRAD2023 Task 1 as published: it holds neither {paths}. Give the "
        "folder that holds Task1."
    )


if __name__ == "__main__":
    run(prepare_synthrad2023)

"""List AutoPET: `python -m pipelines.prepare_autopet --root DIR [--label-maps PATTERN]`.

Three layouts are known:

- as published for autoPET III and later (fdat.uni-tuebingen.de/records/6gjsg-zcg93):
  `imagesTr/CASE_0000.nii.gz` (CT), `CASE_0001` (PET), `labelsTr/CASE.nii.gz` (tumour lesions, no
  label map of the body), CASE being `TRACER_PATIENT_STUDY`;
- as published for autoPET I (FDG-PET-CT-Lesions, doi.org/10.7937/gkr0-xv29, converted to NIfTI):
  `PATIENT/STUDY/{CT,CTres,PET,SUV,SEG}.nii.gz`, CTres being on the grid of the PET;
- as the thesis had it: `CASE_0001.nii.gz` (CT) and `CASE_0002.nii.gz` (label map) in one folder.
"""

import json
import logging
import re
from pathlib import Path
from typing import Annotated, Any

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
    Subjects,
    check_root,
    complete,
    file_name,
    finish,
    split_patients,
)

logger = logging.getLogger("medusis_tf.prepare_autopet")

PATIENT = r"(?:fdg|psma|PETCT|AutoPET)_[A-Za-z0-9]+"


def prepare_autopet(
    root: Root,
    out: Out = None,
    label_maps: Annotated[
        str | None,
        typer.Option(
            help="Where the label maps lie in the root, as labels/{subject}.nii.gz, or with "
            "{patient} and {subject} for the study in the layout of autoPET I."
        ),
    ] = None,
    ct: Annotated[
        str | None,
        typer.Option(help="CT: a channel such as 0000, or CT or CTres in the layout of autoPET I."),
    ] = None,
    patient: Annotated[
        str, typer.Option(help="Regular expression of the patient at the start of a case's name.")
    ] = PATIENT,
    config: Config = None,
    splits: Shares = (0.9, 0.05, 0.05),
    seed: Seed = 0,
    disjoint: Disjoint = False,
    skip_incomplete: SkipIncomplete = False,
) -> None:
    """Write the manifest of AutoPET: label maps, and CT as the images to synthesize.

    All studies of a patient go to one split.
    """
    check_root(root)
    glob = _find_layout(root, ct, label_maps)
    subjects = expand_globs([{**glob, "optional": ["label_map"]}], root)
    subjects = complete(subjects, skip_incomplete, glob["label_map"])
    subjects = split_patients(_name(subjects, patient), splits, seed, disjoint)
    finish(out or root / "autopet.csv", subjects, root, config, "configs/autopet_wavelet.yaml")


def _find_layout(root: Path, ct: str | None, label_maps: str | None) -> dict[str, Any]:
    """The patterns of the layout that the root has."""
    if (root / "imagesTr").is_dir():
        if label_maps is None:
            _refuse_lesions(root)
        image = f"imagesTr/{{subject}}_{ct or '0000'}.nii.gz"
        return {"image": image, "label_map": label_maps or "labelsTr/{subject}.nii.gz"}
    if any(root.glob(f"*_{ct or '0001'}.nii.gz")):
        image = f"{{subject}}_{ct or '0001'}.nii.gz"
        return {"image": image, "label_map": label_maps or "{subject}_0002.nii.gz"}
    for folder in ("", "FDG-PET-CT-Lesions/"):
        if any(root.glob(f"{folder}*/*/{ct or 'CTres'}.nii.gz")):
            study = f"{folder}{{patient}}/{{subject}}"
            label_map = label_maps or f"{study}/label_map.nii.gz"
            image = f"{study}/{ct or 'CTres'}.nii.gz"
            return {"image": image, "label_map": label_map, "subject": "{patient}_{subject}"}
    raise UserError(
        f"{root} is not AutoPET as published: it holds neither imagesTr/, nor CASE_0001.nii.gz, "
        "nor PATIENT/STUDY/CTres.nii.gz. Give the folder that holds these."
    )


def _refuse_lesions(root: Path) -> None:
    try:
        labels = json.loads((root / "dataset.json").read_text(encoding="utf-8"))["labels"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # without it the label maps say themselves whether they fit the class table
    if len(labels) <= 2:
        raise UserError(
            f"{root}/labelsTr holds tumour lesions (dataset.json: {', '.join(labels)}), not label "
            "maps of the body. Make those with python -m pipelines.segment_ct and say where they "
            "lie, as in --label-maps 'label_maps/{subject}.nii.gz'."
        )


def _name(subjects: Subjects, patient: str) -> Subjects:
    """Turn the names of cases and studies into subjects and patients."""
    try:
        expression = re.compile(patient)
    except re.error as error:
        raise UserError(f"--patient {patient!r} is no regular expression: {error}.") from None
    named, unknown = [], 0
    for entry in subjects:
        name, found = entry["subject"], expression.match(entry["subject"])
        unknown += "patient" not in entry and found is None
        of = entry.get("patient") or (found.group() if found else name)
        named.append({**entry, "subject": file_name(name), "patient": file_name(of)})
    if unknown:
        logger.info(
            "the names of %d cases do not tell the patient: each counts as a patient of its own. "
            "If some are studies of one patient, give --patient.",
            unknown,
        )
    return named


if __name__ == "__main__":
    run(prepare_autopet)

"""List AutoPET: `medusis prepare-autopet --root DIR [--label-maps PATTERN]`.

Three layouts are supported:

- as published for autoPET III and later (fdat.uni-tuebingen.de/records/6gjsg-zcg93):
  `imagesTr/CASE_0000.nii.gz` (CT), `imagesTr/CASE_0001.nii.gz` (PET) and `labelsTr/CASE.nii.gz`
  (tumour lesions, not label maps of the body), where CASE is `TRACER_PATIENT_STUDY`;
- as published for autoPET I (FDG-PET-CT-Lesions, doi.org/10.7937/gkr0-xv29, converted to NIfTI):
  `PATIENT/STUDY/{CT,CTres,PET,SUV,SEG}.nii.gz`, where CTres has the grid of the PET;
- as in the thesis: `CASE_0001.nii.gz` (CT) and `CASE_0002.nii.gz` (label map) in one folder.
"""

import logging
import re
from pathlib import Path
from typing import Annotated, Any

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
    Subjects,
    check_root,
    complete,
    file_name,
    finish,
    split_patients,
)
from medusis_tf.errors import UserError
from medusis_tf.json_files import read_json

logger = logging.getLogger(__name__)

PATIENT = r"(?:fdg|psma|PETCT|AutoPET)_[A-Za-z0-9]+"


def prepare_autopet(
    root: Root,
    out: Out = None,
    label_maps: Annotated[
        str | None,
        typer.Option(
            help="Path pattern of the label maps in the root, such as labels/{subject}.nii.gz. In "
            "the layout of autoPET I, {patient} is the patient and {subject} the study."
        ),
    ] = None,
    ct: Annotated[
        str | None,
        typer.Option(help="CT: a channel such as 0000; CT or CTres in the layout of autoPET I."),
    ] = None,
    patient: Annotated[
        str, typer.Option(help="Regular expression for the patient, at the start of case names.")
    ] = PATIENT,
    config: Config = None,
    splits: Shares = (0.9, 0.05, 0.05),
    seed: Seed = 0,
    disjoint: Disjoint = False,
    skip_incomplete: SkipIncomplete = False,
) -> None:
    """Write the subject list of AutoPET: label maps, and CT as the images to synthesize.

    All studies of a patient are in the same split.
    """
    check_root(root)
    glob = _find_layout(root, ct, label_maps)
    subjects = expand_globs([{**glob, "optional": ["label_map"]}], root, any_names=True)
    subjects = complete(subjects, skip_incomplete, glob["label_map"])
    subjects = split_patients(_name(subjects, patient), splits, seed, disjoint)
    finish(out or root / "autopet.csv", subjects, root, config, "configs/autopet_wavelet.yaml")


def _find_layout(root: Path, ct: str | None, label_maps: str | None) -> dict[str, Any]:
    """Return the path patterns for the layout of the root."""
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
        f"{root} has no known layout of AutoPET: it contains neither imagesTr/, nor "
        "CASE_0001.nii.gz, nor PATIENT/STUDY/CTres.nii.gz. Give the folder that contains these."
    )


def _refuse_lesions(root: Path) -> None:
    try:
        labels = read_json(root / "dataset.json")["labels"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # `medusis prepare` checks the label maps against the class table
    if len(labels) <= 2:
        raise UserError(
            f"{root}/labelsTr contains tumour lesions (dataset.json: {', '.join(labels)}), not "
            "label maps of the body. Make label maps with medusis segment-ct and give their "
            "location, for example --label-maps 'label_maps/{subject}.nii.gz'."
        )


def _name(subjects: Subjects, patient: str) -> Subjects:
    """Derive valid names of subjects and patients from the names of cases and studies."""
    try:
        expression = re.compile(patient)
    except re.error as error:
        raise UserError(
            f"--patient {patient!r} is not a valid regular expression: {error}."
        ) from None
    named, unknown = [], 0
    for entry in subjects:
        name, found = entry["subject"], expression.match(entry["subject"])
        unknown += "patient" not in entry and found is None
        of = entry.get("patient") or (found.group() if found else name)
        named.append({**entry, "subject": file_name(name), "patient": file_name(of)})
    if unknown:
        logger.info(
            "the names of %d cases do not contain the patient: each case counts as one patient. "
            "If a patient has several cases, give --patient.",
            unknown,
        )
    return named

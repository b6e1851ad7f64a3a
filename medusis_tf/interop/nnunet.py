"""How nnU-Net v2 wants a raw data set: labels, description, folds, and where it lies.

https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/reference/dataset-format.md
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from medusis_tf.config.taxonomy import ClassEntry
from medusis_tf.errors import UserError

SUFFIX = ".nii.gz"
NUM_FOLDS = 5


def nnunet_labels(classes: Sequence[ClassEntry]) -> dict[str, int]:
    """Class names and ids as nnU-Net wants them: `background` is 0, the others follow.

    Args:
        classes: Of ids 0, 1, and so on.

    Raises:
        UserError: A class has a name that means something else to nnU-Net.
    """
    names = [entry.name for entry in classes[1:]]
    if taken := [name for name in names if name in ("background", "ignore")]:
        raise UserError(
            f"nnU-Net keeps the names background, of class 0, and ignore for itself. Rename class "
            f"{taken[0]} of data.classes."
        )
    return {"background": 0} | {name: id_ for id_, name in enumerate(names, start=1)}


def patient_folds(patients: dict[str, str], count: int = NUM_FOLDS) -> list[dict[str, list[str]]]:
    """Folds for cross-validation in which all cases of a patient stand on one side.

    nnU-Net's own folds are of cases: a label map painted with two noises would stand on both.

    Args:
        patients: Case to patient.
        count: Folds; fewer if there are fewer patients.

    Returns:
        For each fold its cases, `train` and `val`; nothing with a single patient.
    """
    names = sorted(set(patients.values()))
    count = min(count, len(names))
    if count < 2:
        return []
    fold_of = {name: number % count for number, name in enumerate(names)}
    return [
        {
            "train": sorted(case for case, who in patients.items() if fold_of[who] != fold),
            "val": sorted(case for case, who in patients.items() if fold_of[who] == fold),
        }
        for fold in range(count)
    ]


def write_descriptions(
    folder: Path, labels: dict[str, int], patients: dict[str, str], **about: object
) -> None:
    """Write `dataset.json`, and `splits_final.json` where there is something to split.

    Args:
        folder: Of the data set.
        labels: From `nnunet_labels`.
        patients: Training case to patient; empty if none is there to train on.
        about: Whatever else is to be said; nnU-Net does not read it.

    Raises:
        OSError: The disk refuses.
    """
    content = {
        **about,
        # Any name but CT and a few more: every volume is scaled by its own mean and deviation.
        "channel_names": {"0": "MRI"},
        "labels": labels,
        "numTraining": len(patients),
        "file_ending": SUFFIX,
    }
    (folder / "dataset.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
    if folds := patient_folds(patients):
        text = json.dumps(folds, indent=2)
        (folder / "splits_final.json").write_text(text, encoding="utf-8")


def check_target(target: Path, overwrite: bool) -> None:
    """Check that a data set may be written.

    Raises:
        UserError: It is there and shall not be overwritten, or another one has its number.
    """
    number = target.name.partition("_")[0]
    others = [path.name for path in sorted(target.parent.glob(f"{number}_*")) if path != target]
    if others:
        raise UserError(
            f"{target.parent} has {others[0]} already, and nnU-Net takes one data set of each "
            "number. Give another --id."
        )
    if not target.exists():
        return
    if not overwrite:
        raise UserError(f"{target} exists already. Give another --id, or --overwrite.")
    if not (target / "dataset.json").is_file():
        raise UserError(f"{target} is no data set of nnU-Net: it is not replaced. Move it away.")


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """An empty folder that becomes `target`, in place of what is there, if all goes well.

    Raises:
        UserError: The disk refuses.
    """
    partial, old = (
        target.with_name(f".{target.name}.{what}-{os.getpid()}") for what in ("partial", "old")
    )
    try:
        partial.mkdir(parents=True)
        yield partial
        if target.exists():
            target.rename(old)
        partial.rename(target)
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror or error}.") from None
    finally:
        if old.exists() and not target.exists():
            old.rename(target)
        for folder in (partial, old):
            shutil.rmtree(folder, ignore_errors=True)

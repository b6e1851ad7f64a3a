"""Raw data sets in the format of nnU-Net v2: labels, description, folds and folder.

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
    """Return the ids of classes by name, with class 0 named `background` as nnU-Net requires.

    Args:
        classes: Classes with ids 0, 1, 2, ... in order.

    Raises:
        UserError: A class has a name that is reserved in nnU-Net.
    """
    names = [entry.name for entry in classes[1:]]
    if taken := [name for name in names if name in ("background", "ignore")]:
        raise UserError(
            "nnU-Net reserves the names background, for class 0, and ignore. Rename class "
            f"{taken[0]} of data.classes."
        )
    return {"background": 0} | {name: id_ for id_, name in enumerate(names, start=1)}


def patient_folds(patients: dict[str, str], count: int = NUM_FOLDS) -> list[dict[str, list[str]]]:
    """Return folds for cross-validation that keep all cases of a patient together.

    The folds that nnU-Net draws itself ignore patients: images of one label map, synthesized with
    two seeds, could be in both `train` and `val`.

    Args:
        patients: Patient of each case.
        count: Number of folds; fewer if there are fewer patients.

    Returns:
        The cases of each fold, `train` and `val`; empty if there is only one patient.
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
    """Write `dataset.json`, and `splits_final.json` if there are at least two patients.

    Args:
        folder: Folder of the data set.
        labels: Ids of the classes by name, from `nnunet_labels`.
        patients: Patient of each training case; empty without training cases.
        about: Further entries of `dataset.json`, which nnU-Net ignores.

    Raises:
        OSError: A file cannot be written.
    """
    content = {
        **about,
        # For any name but CT and a few others, nnU-Net standardizes each volume by itself.
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
    """Check that a data set may be written to `target`.

    Args:
        target: Folder of the data set, `DatasetNNN_NAME`.
        overwrite: Whether an existing data set is replaced.

    Raises:
        UserError: The data set exists and is not to be replaced, `target` is another kind of
            folder, or another data set has the same number.
    """
    number = target.name.partition("_")[0]
    others = [path.name for path in sorted(target.parent.glob(f"{number}_*")) if path != target]
    if others:
        raise UserError(
            f"{target.parent} has {others[0]} already, and nnU-Net allows one data set for each "
            "number. Give another --id."
        )
    if not target.exists():
        return
    if not overwrite:
        raise UserError(f"{target} exists already. Give another --id, or --overwrite.")
    if not (target / "dataset.json").is_file():
        raise UserError(f"{target} is not an nnU-Net data set and is not replaced. Move it away.")


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces `target` at the end, unless the block raises.

    Raises:
        UserError: A file or folder cannot be written.
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

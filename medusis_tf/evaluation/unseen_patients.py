"""Whether the patients to test on are unseen: not in the data that a run was trained on."""

from __future__ import annotations

from collections.abc import Collection

from medusis_tf.config.data import DataConfig, Split

# The best checkpoint of a run is chosen on its validation patients.
_USED: dict[Split, tuple[Split, ...]] = {
    "train": (),
    "validation": ("train",),
    "test": ("train", "validation"),
}


def seen_patients(
    trained: DataConfig | None, patients: Collection[str], split: Split
) -> dict[Split, list[str]]:
    """Find the patients to test on that a run has used in training. They are compared by name.

    Args:
        trained: Data of the run; None if they are unknown, as those of an exported model, which
            holds no subjects.
        patients: Patients to test on.
        split: Split that they are in. Training patients are not unseen anyway: nothing is compared
            for `train`; and those of `validation` may be validation patients of the run.

    Returns:
        Sorted patients by the split of the run; empty if all are unseen, or nothing is known.
    """
    if trained is None:
        return {}
    found = {}
    for used in _USED[split]:
        known = {entry.patient_name for entry in trained.subjects_of(used)}
        if seen := sorted(known & set(patients)):
            found[used] = seen
    return found


def described(seen: dict[Split, list[str]]) -> str:
    """The patients that were seen, as text: `a, b in the training split`."""
    names = {"train": "training", "validation": "validation", "test": "test"}
    return "; ".join(
        f"{', '.join(patients)} in the {names[split]} split" for split, patients in seen.items()
    )

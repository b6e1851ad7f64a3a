"""Phantom volumes for tests that train, written once per session."""

import copy
import functools
from pathlib import Path
from typing import Any

import pytest

from medusis_tf.data.phantom import write_phantom_dataset


def phantom_data(factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the `data` section of a tiny experiment on phantoms of 8 slices each.

    Training: the label map ct_0 (whose image is not used) and the image mr_0. Validation: the pairs
    ct_1 and ct_2. Test: the pair test_0.
    """
    return copy.deepcopy(_write(factory.getbasetemp() / "phantoms"))


@functools.cache
def _write(folder: Path) -> dict[str, Any]:
    subjects = [
        subject.model_dump(mode="json", exclude_none=True)
        for subject in write_phantom_dataset(folder, 3, 1, shape=(40, 40, 8), with_pairs=True)
    ]
    for subject in subjects[1:3]:
        subject["split"] = "validation"
    return {
        "root": str(folder),
        "cache_dir": str(folder / "cache"),
        "subjects": subjects,
        "field_of_view_mm": [80, 80],
    }

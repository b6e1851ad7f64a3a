"""Subjects of about two thousand voxels, and an experiment on them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.preparing import preparation
from medusis_tf.data.shards.manifest import SubjectRecord
from medusis_tf.data.shards.shards import Shards
from tests.data.volume_files import lps_affine, write_nifti

SHAPE = (20, 18, 6)
SPACING = (2.0, 2.0, 4.0)
AFFINE = lps_affine(SPACING, (19, 17, -10))


def small_label_map(seed: int) -> np.ndarray:
    """`[x, y, z]` uint8: a body of classes 1 and 2 with a hole, and specks of classes 3 and 4."""
    random = np.random.default_rng(seed)
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, side) for side in SHAPE), indexing="ij")
    radius = np.hypot(x, y * random.uniform(0.9, 1.1))
    label_map = np.where(radius < 0.5, 2, np.where(radius < 0.85, 1, 0)).astype(np.uint8)
    specks = random.random(SHAPE) < 0.05
    label_map[specks & (label_map > 0)] = random.integers(3, 5)
    label_map[9:11, 8:10] = 0
    return label_map


def small_image(seed: int) -> np.ndarray:
    """`[x, y, z]` int16: bright in the foreground of `small_label_map` of the same seed."""
    noise = np.random.default_rng([seed, 1]).normal(0, 15, SHAPE)
    means = np.array([20, 400, 250, 120, 330])[small_label_map(seed)]
    return np.rint(means + noise).clip(0).astype(np.int16)


def write_subject(
    root: Path, name: str, split: str = "train", kinds: str = "label_map image", seed: int = 0
) -> dict[str, Any]:
    """Write the volumes of a subject, and return its entry for `data.subjects`."""
    entry: dict[str, Any] = {"subject": name, "split": split}
    for kind, make in (("label_map", small_label_map), ("image", small_image)):
        if kind in kinds.split():
            path = Path(name) / f"{kind}.nii.gz"
            write_nifti(root / path, make(seed), AFFINE, axes="RAS")
            entry[kind] = str(path)
    return entry


def write_cohort(root: Path) -> list[dict[str, Any]]:
    """Two subjects with label maps, two with images, one for validation, one for testing."""
    return [
        write_subject(root, "ct_1", kinds="label_map", seed=1),
        write_subject(root, "ct_2", kinds="label_map", seed=2),
        write_subject(root, "mr_1", kinds="image", seed=3),
        write_subject(root, "mr_2", kinds="image", seed=4),
        write_subject(root, "valid", "validation", kinds="image", seed=5),
        write_subject(root, "test", "test", seed=6),
    ]


def small_experiment(
    root: Path, cache_dir: Path, subjects: list[Any], **data: Any
) -> ExperimentConfig:
    """The tiny experiment on these subjects."""
    from tests.training.tiny_experiment import tiny_experiment  # starts TensorFlow

    values = {
        "root": str(root),
        "cache_dir": str(cache_dir),
        "subjects": subjects,
        "field_of_view_mm": [48, 48],
        **data,
    }
    return tiny_experiment(data=values)


def prepared(folder: Path, subjects: list[Any], **data: Any) -> Shards:
    """Prepare subjects between two with both streams; slices have native pixels."""
    values = {"field_of_view_mm": None, "cache": "memory", "minimum_foreground": 0.0, **data}
    both = write_subject(folder, "first", seed=1), write_subject(folder, "last", seed=2)
    config = small_experiment(folder, folder / "cache", [both[0], *subjects, both[1]], **values)
    return preparation.prepare_shards(config)


def record_of(shards: Shards, name: str) -> SubjectRecord:
    return next(entry for entry in shards.records.subjects if entry.subject == name)


def on_slices(array: np.ndarray) -> np.ndarray:
    """`[x, y, z]` as axial slices of native pixels, padded to 32x32."""
    view = array.transpose(2, 1, 0)
    padding = [(0, 0)] + [((32 - side) // 2, (33 - side) // 2) for side in view.shape[1:]]
    return np.pad(view, padding)


def count_conversions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the names of subjects converted from now on, in this process."""
    names: list[str] = []
    convert = preparation.convert_to_store

    def counting(task: Any) -> Any:
        names.append(task.subject.subject)
        return convert(task)

    monkeypatch.setattr(preparation, "convert_to_store", counting)
    return names


def tree(folder: Path) -> dict[str, bytes]:
    """Content of all files in a folder, by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

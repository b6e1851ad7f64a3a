"""Our preparation and input pipeline, for `benchmarks.peers`."""

import itertools
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peer_worker import Task

BATCH_SIZE = 16
# Tissues of the phantom to background, fat, soft tissue, bone and tumour.
_CLASS_OF_TISSUE = np.array([0, 1, 2, 1, 3, 3, 4], np.uint8)


def prepare(settings: dict[str, Any]) -> tuple[dict[str, Task], dict[str, Any]]:
    """Write volumes, and make the tasks `first` and `later` epoch.

    Args:
        settings: Values of `benchmarks.peer_cases.SIZES`, and the `folder` of shared files.
    """
    folder = Path(settings["folder"])
    subjects = write_volumes(folder / "volumes", **settings["volumes"])
    slices = settings["volumes"]["count"] * settings["volumes"]["shape"][2]
    steps = max(1, slices // BATCH_SIZE)
    endless = batches(folder, subjects, settings)
    facts = describe(itertools.islice(endless, steps))
    tasks: dict[str, Task] = {
        "first": lambda: take(batches(folder, subjects, settings), steps),
        "later": partial(take, endless, steps),
    }
    return tasks, {"slices": slices, **facts}


def write_volumes(
    folder: Path, count: int, shape: list[int], spacing_mm: list[float]
) -> list[dict[str, Any]]:
    """Write an image and a label map of each phantom, and return the entries of the subjects.

    Args:
        folder: Folder for the files.
        count: Number of phantoms.
        shape: Voxels along x, y and z.
        spacing_mm: Their distances.
    """
    import nibabel as nib

    from medusis_tf.data.phantom import draw_limb, scan_mr

    folder.mkdir()
    affine = np.diag([-spacing_mm[0], -spacing_mm[1], spacing_mm[2], 1.0])
    subjects = []
    for number in range(count):
        random = np.random.default_rng(number)
        limb = draw_limb((shape[0], shape[1], shape[2]), random)
        arrays = {
            "image": scan_mr(limb, random).astype(np.int16),
            "label_map": _CLASS_OF_TISSUE[limb.tissues],
        }
        files = {name: f"{name}_{number}.nii.gz" for name in arrays}
        for name, array in arrays.items():
            nib.save(nib.Nifti1Image(array, affine), folder / files[name])
        subjects.append({"subject": f"phantom_{number}", "split": "train", **files})
    return subjects


def batches(
    folder: Path, subjects: list[dict[str, Any]], settings: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Prepare the volumes into a new cache, and return endless batches with one-hot label maps."""
    import tensorflow as tf

    from benchmarks.phantom_experiment import CLASSES
    from medusis_tf.data.batches.dataset import training_batches
    from medusis_tf.data.preparing.preparation import prepare_shards
    from medusis_tf.methods.experiment import validate

    shape, spacing_mm = settings["volumes"]["shape"], settings["volumes"]["spacing_mm"]
    names = [*CLASSES, *(f"class_{number}" for number in range(5, settings["classes"]))]
    values = {
        "name": "benchmark",
        "data": {
            "root": str(folder / "volumes"),
            "cache_dir": tempfile.mkdtemp(dir=folder),
            "classes": [
                {"id": number, "name": name, "colour": [number] * 3}
                for number, name in enumerate(names)
            ],
            "subjects": subjects,
            "pairing": "paired_sampling",
            "image_size": [settings["side"]] * 2,
            "field_of_view_mm": [shape[1] * spacing_mm[1], shape[0] * spacing_mm[0]],
            "minimum_foreground": 0,
            "augmentation": {"flip": False},
        },
        "generator": {"name": "oasis", "num_blocks": 2},  # not built
        "segmenter": {"num_levels": 2},
        "training": {"batch_size": BATCH_SIZE},
    }
    config = validate(values, Path("benchmark"))
    shards = prepare_shards(config, jobs=None)  # as `medusis train` does

    def encode(batch: dict[str, Any]) -> dict[str, Any]:
        return {**batch, "label_map": tf.one_hot(batch["label_map"], settings["classes"])}

    return iter(training_batches(config, shards).map(encode, tf.data.AUTOTUNE).prefetch(2))


def take(endless: Iterator[Any], steps: int) -> None:
    """Take some batches."""
    for _ in range(steps):
        next(endless)


def describe(some: Iterator[dict[str, Any]]) -> dict[str, float]:
    """Mean grey level and share of the foreground, which must be those of the other side."""
    found = [
        (batch["image"].numpy().mean(), 1 - batch["label_map"].numpy()[..., 0].mean())
        for batch in some
    ]
    grey, foreground = np.mean(found, axis=0)
    return {"mean_grey": float(grey), "foreground": float(foreground)}

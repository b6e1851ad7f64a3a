"""Phantoms with a label map of every tissue, and the true classes of the images."""

from pathlib import Path

import nibabel as nib
import numpy as np

from medusis_tf.appearance.appearance import NUM_QUANTILES
from medusis_tf.config.appearance import AppearanceConfig
from medusis_tf.config.data import Subject
from medusis_tf.data.phantom import draw_limb, scan_mr
from medusis_tf.data.preparing.preparation import prepare_shards, slice_in_memory
from medusis_tf.data.shards.shards import Shards
from medusis_tf.methods.med_usis.config import MedUSISConfig

CLASSES = ["background", "fat", "soft_tissue", "bone", "tumour", "marrow"]
# air, fat, muscle, septum, cortex, marrow, tumour of the phantom.
_CLASS_OF = np.array([0, 1, 2, 2, 3, 5, 4], np.uint8)
_AFFINE = np.diag([-2.0, -2.0, 5.0, 1.0])


def phantom_experiment(
    folder: Path,
    labels: int = 5,
    images: int = 4,
    side: int = 64,
    depth: int = 10,
    seed: int = 0,
    only_bone: bool = False,
    cache: str = "memory",
) -> tuple[MedUSISConfig, Shards]:
    """Experiment with label maps of some limbs and MR of others; the true labels stay apart."""
    subjects = []
    for number in range(labels + images):
        random = np.random.default_rng([seed, number])
        limb = draw_limb((side, side, depth), random)
        kind = "label_map" if number < labels else "image"
        array = _CLASS_OF[limb.tissues]
        array = np.where(np.isin(array, [3, 5]), array, 0) if only_bone else array
        if kind == "image":
            array = scan_mr(limb, random).astype(np.int16)
            _save(folder / f"truth_{number}.nii.gz", _CLASS_OF[limb.tissues])
        _save(folder / f"{number}.nii.gz", array)
        path = {kind: Path(f"{number}.nii.gz")}
        subjects.append(Subject(subject=f"s{number}", split="train", **path))
    config = _experiment(folder, tuple(subjects), side, cache)
    return config, prepare_shards(config)


def with_appearance(config: MedUSISConfig, **values: object) -> MedUSISConfig:
    """The same experiment with other settings of its appearance."""
    section = AppearanceConfig.model_validate(config.appearance.model_dump() | values)
    return config.model_copy(update={"appearance": section})


def true_classes(folder: Path, config: MedUSISConfig, shards: Shards, name: str) -> np.ndarray:
    """Classes of the image of a subject, `[slices, height, width]`."""
    entry = Subject(
        subject=name, split="train", label_map=Path(f"truth_{name.removeprefix('s')}.nii.gz")
    )
    data = config.data.model_copy(update={"subjects": (entry,), "minimum_foreground": 0.0})
    labels = slice_in_memory(data).read(name)
    kept = shards.read(name).slice_indices
    return labels.label_map[np.searchsorted(labels.slice_indices, kept)]


def true_quantiles(folder: Path, config: MedUSISConfig, shards: Shards) -> np.ndarray:
    """Quantiles of the pixels of each class in all images, `[K, 32]`."""
    greys, classes = [], []
    for record in shards.subjects("train", "image"):
        greys.append(shards.read_image(record).ravel())
        classes.append(true_classes(folder, config, shards, record.subject).ravel())
    grey, label = np.concatenate(greys), np.concatenate(classes)
    levels = (np.arange(NUM_QUANTILES) + 0.5) / NUM_QUANTILES
    return np.array([np.quantile(grey[label == k], levels) for k in range(len(CLASSES))])


def _experiment(
    folder: Path, subjects: tuple[Subject, ...], side: int, cache: str
) -> MedUSISConfig:
    classes = [{"id": k, "name": name, "colour": [k] * 3} for k, name in enumerate(CLASSES)]
    return MedUSISConfig.model_validate(
        {
            "name": "phantoms",
            "generator": {"name": "oasis"},
            "data": {
                "root": folder,
                "cache": cache,
                "cache_dir": folder / "cache",
                "classes": classes,
                "image_size": [side, side],
                "field_of_view_mm": [2.0 * side, 2.0 * side],
                "subjects": [each.model_dump(exclude_none=True) for each in subjects],
            },
        }
    )


def _save(path: Path, array: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(array, _AFFINE), path)

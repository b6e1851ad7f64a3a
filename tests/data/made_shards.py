"""Prepared slices made from arrays, for tests that only train on them."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from medusis_tf.config.augmentation import AugmentationConfig
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.shards.manifest import (
    Kind,
    Manifest,
    SubjectRecord,
)
from medusis_tf.data.shards.shards import Shards
from medusis_tf.data.shards.slice_files import IMAGE_LEVELS, SliceLayout, write_slices
from tests.data.volume_files import changed_data as changed
from tests.training.tiny_experiment import tiny_experiment

# Training subjects of `numbered_shards`: number of slices, and streams.
SUBJECTS = {
    "a": (5, ("label_map",)),
    "b": (7, ("image",)),
    "c": (6, ("label_map", "image")),
    "none": (0, ("label_map", "image")),
    "d": (9, ("label_map",)),
    "e": (4, ("label_map", "image")),
}
NUM_LABEL_MAPS, NUM_IMAGES = 24, 17
_UNUSED = 3  # records of another split, before the training subjects
_STEP = 200  # intensity levels between two numbers


def subject_record(name, streams, num_slices, first_record, positions=None, split="train"):
    """A subject with records at the given positions."""
    return SubjectRecord(
        subject=name,
        patient=name,
        split=split,
        streams=streams,
        content=name,
        kinds=tuple(first_record),
        first_record=first_record,
        volume_shape=(8, 8, num_slices),
        volume_spacing_mm=(1, 1, 1),
        depth=num_slices,
        slice_indices=tuple(range(num_slices)),
        positions=tuple(np.linspace(0, 1, num_slices)) if positions is None else positions,
        class_pixels=None,
        intensity=None,
        histogram=None,
        sources={},
        warnings=(),
    )


def made_shards(
    subjects: list[SubjectRecord],
    label_maps: np.ndarray,
    images: np.ndarray,
    folder: Path | None = None,
) -> Shards:
    """Make shards in memory, or in the files of a folder.

    Args:
        subjects: Subjects; `first_record` gives the position of their records.
        label_maps: `[records, height, width]` uint8; the body masks are their foreground.
        images: `[records, height, width]` float in [-1, 1].
        folder: Output folder; None for shards in memory.
    """
    levels = np.rint((images + 1) * (IMAGE_LEVELS / 2)).astype("<u2")
    masks = np.packbits((label_maps > 0).reshape(len(label_maps), -1), axis=1)
    arrays: dict[Kind, np.ndarray] = {
        "label_map": label_maps,
        "image": levels,
        "body_mask": masks,
    }
    files = {}
    if folder is not None:
        folder.mkdir(parents=True)
        for kind, slices in arrays.items():
            layout = SliceLayout.of(kind, images.shape[1:])
            files[kind] = write_slices(folder, layout, [slices], len(slices))
    manifest = Manifest(
        classes=(),
        axis="axial",
        image_size=images.shape[1:],
        field_of_view_mm=None,
        files=files,
        subjects=tuple(subjects),
    )
    if folder is None:
        return Shards(manifest, arrays)
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    shards = Shards.open(folder)
    assert shards is not None
    return shards


def numbered_slices(num_label_maps: int, num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """Uniform slices with their number as value, so that flipping does not change them."""
    whole = np.ones([1, 32, 32])
    label_maps, images = (np.arange(n)[:, None, None] for n in (num_label_maps, num_images))
    return (whole * label_maps).astype(np.uint8), whole * images * (2 * _STEP / IMAGE_LEVELS) - 1


def numbers_in(batches: list[dict[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Read the numbers of the slices in batches."""
    label_maps = np.concatenate([batch["label_map"].max(axis=(1, 2)) for batch in batches])
    values = np.concatenate([batch["image"].max(axis=(1, 2, 3)) for batch in batches])
    images = np.rint((values + 1) * (IMAGE_LEVELS / 2 / _STEP))
    return label_maps.astype(int), images.astype(int)


def numbered_shards(subjects: dict[str, Any] = SUBJECTS, folder: Path | None = None) -> Shards:
    """Shards of numbered slices, with another split first."""
    place = {"label_map": 0, "image": 0}
    records = [subject_record("other", tuple(place), _UNUSED, place, split="test")]
    counts = {"label_map": _UNUSED, "image": _UNUSED}
    for name, (num_slices, streams) in subjects.items():
        place = {stream: counts[stream] for stream in streams}
        if "label_map" in place:
            place["body_mask"] = place["label_map"]
        records.append(subject_record(name, streams, num_slices, place))
        for stream in streams:
            counts[stream] += num_slices
    return made_shards(records, *numbered_slices(*counts.values()), folder)


def training_numbers(batches: list[dict[str, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Read the numbers of slices of `numbered_shards`; the training split starts at 0."""
    label_maps, images = numbers_in(batches)
    return label_maps - _UNUSED, images - _UNUSED


def plain_experiment(**data: Any) -> ExperimentConfig:
    """Batches of four 32x32 slices, without augmentation."""
    return changed(tiny_experiment(), **{"augmentation": AugmentationConfig(flip=False), **data})


def taken(batches: tf.data.Dataset, count: int) -> list[dict[str, np.ndarray]]:
    """Take the first batches as arrays."""
    return [{k: v.numpy() for k, v in batch.items()} for batch in batches.take(count)]

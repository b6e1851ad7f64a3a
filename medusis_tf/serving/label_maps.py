"""Read a label map of any source in the classes of a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.labels.remapping import holds_masks, read_masks, remap
from medusis_tf.data.labels.segments import holds_segments, read_segments, segment_grid
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.reading import read_grid, read_label_map
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError
from medusis_tf.serving.label_meaning import (
    MODEL_IDS,
    LabelMapOptions,
    are_own,
    listed,
    table_of_ids,
)
from medusis_tf.serving.label_names import stated_names
from medusis_tf.serving.metadata import ModelMetadata

__all__ = [
    "MODEL_IDS",
    "LabelMapOptions",
    "check_foreground",
    "grid_for_model",
    "in_classes",
    "read_for_model",
]

_NUM_IDS = 2**16
_FOUND_OUT = LabelMapOptions()


def read_for_model(
    path: Path, metadata: ModelMetadata, options: LabelMapOptions = _FOUND_OUT
) -> Volume:
    """Read a label map in the classes of a model.

    Without `options.label_source`, the names that the file states decide. Without names, ids of the
    model are taken as they are, and other ids by the only label source of the training that has
    them.

    Args:
        path: Volume of ids, folder of one-class masks named by class, DICOM SEG file, or folder of
            a series with a DICOM SEG or RTSTRUCT file.
        metadata: Metadata of the model.
        options: Meaning of the ids, and reading.

    Returns:
        uint8 class ids. `warnings` has one sentence for each decision and suspicious property.

    Raises:
        UserError: The file cannot be read, has ids or names without a class, or no foreground.
    """
    if not path.exists():
        raise UserError(f"there is no file or folder {path}. Check the path of the label map.")
    reading = options.reading_of(metadata)
    if holds_masks(path):
        label_map = read_masks(path, options.taxonomy_of(metadata), reading)
        return check_foreground(label_map)
    if holds_segments(path):
        return check_foreground(read_segments(path, options.taxonomy_of(metadata), reading))
    return in_classes(read_label_map(path, reading), metadata, options, stated_names(path))


def grid_for_model(path: Path, reading: ReadingConfig) -> Grid:
    """The voxel positions of `read_for_model`, from headers only.

    Raises:
        UserError: The file cannot be read.
    """
    return segment_grid(path, reading) if holds_segments(path) else read_grid(path, reading)


def in_classes(
    label_map: Volume,
    metadata: ModelMetadata,
    options: LabelMapOptions = _FOUND_OUT,
    names: Mapping[int, str] | None = None,
) -> Volume:
    """Convert the ids of a label map in memory into the classes of a model.

    Args:
        label_map: Integers, `[x, y, z]`.
        metadata: Metadata of the model.
        options: Meaning of the ids.
        names: Class names by id that the file states.

    Returns:
        As `read_for_model`.

    Raises:
        UserError: Ids or names have no class, or there is no foreground.
    """
    taxonomy = options.taxonomy_of(metadata)
    present = present_ids(label_map)
    if not present:
        return check_foreground(label_map)
    table, lines = table_of_ids(label_map, present, metadata, options, dict(names or {}))
    if table is None and not are_own(present, metadata):
        unlisted = options.unlisted or (taxonomy.unlisted if not metadata.label_sources else None)
        if unlisted is None:
            raise _unknown(label_map, present, metadata)
        taxonomy = taxonomy.model_copy(update={"unlisted": unlisted})
    found = remap(label_map, table, taxonomy)
    return check_foreground(dataclasses.replace(found, warnings=(*found.warnings, *lines)))


def present_ids(label_map: Volume) -> list[int]:
    """The ids of a label map other than 0, increasing."""
    counts, others = np.zeros(_NUM_IDS, np.int64), set[int]()
    for z in range(label_map.shape[2]):
        plane = label_map.array[:, :, z]
        if plane.min() >= 0 and plane.max() < _NUM_IDS:
            counts += np.bincount(plane.ravel(), minlength=_NUM_IDS)
        else:
            others.update(np.unique(plane).tolist())
    return sorted({*np.flatnonzero(counts).tolist(), *others} - {0})


def check_foreground(label_map: Volume) -> Volume:
    """The label map itself, if anything in it is not background.

    Raises:
        UserError: Nothing is.
    """
    if any(label_map.array[:, :, z].any() for z in range(label_map.shape[2])):
        return label_map
    raise UserError(
        f"{label_map.path} has no foreground: all its voxels are background (class 0), so there is "
        "nothing to paint. Check that it is the right file, and what its ids mean (--label-source)."
    )


def _unknown(label_map: Volume, present: list[int], metadata: ModelMetadata) -> UserError:
    unknown = [id_ for id_ in present if not are_own([id_], metadata)]
    array = label_map.array
    first = next(z for z in range(array.shape[2]) if np.isin(array[:, :, z], unknown).any())
    sources = ", ".join(metadata.label_sources)
    tried = f" Its label sources ({sources}) do not have them all." if sources else ""
    return UserError(
        f"{label_map.path} has ids that the model {metadata.title} does not know: "
        f"{listed(map(str, unknown))}; first in axial slice {first} (0 is the lowest). Known: 0 "
        f"to {metadata.num_classes - 1}.{tried} Give --label-source NAME or FILE, the table of the "
        "ids (`medusis configs` lists the packaged ones), or --unlisted CLASS, such as "
        f"{metadata.classes[0].name}, for ids without a class."
    )

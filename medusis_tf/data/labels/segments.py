"""Read DICOM SEG and RTSTRUCT files as label maps, by the names of their segments."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.config.taxonomy import Taxonomy
from medusis_tf.data.volumes import dicom
from medusis_tf.data.volumes.dicom_seg import read_seg
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.rtstruct import read_rtstruct
from medusis_tf.data.volumes.segment_masks import SegmentMasks, segment_file, series_beside
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError

_MAX_LISTED = 10


def holds_segments(path: Path | str) -> bool:
    """Whether a path is a DICOM SEG or RTSTRUCT file, or a folder with one.

    Raises:
        UserError: A DICOM file cannot be read, or pydicom is missing.
    """
    return segment_file(path) is not None


def read_segments(
    path: Path | str, taxonomy: Taxonomy, reading: ReadingConfig, reference: Grid | None = None
) -> Volume:
    """Merge the segments of a file into a label map of the experiment's classes.

    A segment becomes the class with its name, or the class that lists the name in `sources`; a
    name such as `Left Kidney` also counts as `left_kidney`. Overlaps are resolved by the
    taxonomy's `order`.

    Args:
        path: DICOM SEG or RTSTRUCT file, or a folder with one.
        taxonomy: Classes of the experiment.
        reading: Reading options.
        reference: Grid of the image that an RTSTRUCT was drawn on; not needed if the series is in
            the same folder. A SEG has a grid of its own, or that of the series in its folder.

    Returns:
        uint8 class ids, `[x, y, z]`.

    Raises:
        UserError: The file cannot be read, has segments without a class, or needs a reference.
    """
    segments = _open(Path(path), reading, reference)
    classes = [_class_of(name, taxonomy) for name in segments.names]
    left_out = []
    for index, name in enumerate(segments.names):
        if classes[index] is None:
            left_out += [name] if not segments.mask(index).any() else []
    unknown = [n for n, c in zip(segments.names, classes, strict=True) if c is None]
    if filled := [name for name in unknown if name not in left_out]:
        raise UserError(
            f"{segments.path} has segments without a class: {_listed(filled)}. Add each to the "
            "sources of a class, or set unlisted to the class of all such segments."
        )
    array = np.zeros(segments.grid.shape, np.uint8)
    for class_ in taxonomy.paint_order():
        for index in (index for index, found in enumerate(classes) if found == class_):
            array[segments.mask(index)] = class_
    warnings = list(segments.warnings)
    if left_out:
        warnings.append(f"Empty segments without a class, left out: {_listed(left_out)}.")
    grid = segments.grid
    return Volume(
        array,
        grid.affine,
        segments.path,
        axes=grid.axes,
        warnings=tuple(warnings),
        has_stored_order=grid.has_stored_order,
    )


def segment_grid(path: Path | str, reading: ReadingConfig, reference: Grid | None = None) -> Grid:
    """The voxel positions of `read_segments`, from headers only.

    Args:
        path: As for `read_segments`.
        reading: Reading options.
        reference: As for `read_segments`.

    Raises:
        UserError: The file cannot be read, or needs a reference.
    """
    return _open(Path(path), reading, reference).grid


def _open(path: Path, reading: ReadingConfig, reference: Grid | None) -> SegmentMasks:
    found = segment_file(path)
    if found is None:
        raise UserError(f"{path} has no DICOM segmentation and no structure set.")
    file, kind = found
    if path.is_dir() and (files := series_beside(file, path)):
        reference = dicom.grid_of_files(path, files, reading)
        return (
            read_seg(file, reading, reference) if kind == "SEG" else read_rtstruct(file, reference)
        )
    if kind == "SEG":
        return read_seg(file, reading)
    if reference is None:
        raise UserError(
            f"{file} is an RTSTRUCT, which has contours but no voxels. Give the series that it was "
            "drawn on: in the same folder, with label_map naming the folder, or as the image of "
            "the subject, with streams: [label_map] if it is not to be learned."
        )
    return read_rtstruct(file, reference)


def _class_of(name: str, taxonomy: Taxonomy) -> int | None:
    for known in (name, "_".join(name.lower().split())):
        if known in taxonomy.source_names:
            return taxonomy.class_of(known)
    return taxonomy.class_of(None)


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_MAX_LISTED]) + (", ..." * (len(names) > _MAX_LISTED))

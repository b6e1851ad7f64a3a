"""Write prepared slices as PNG files, for tools that read folders of pictures.

The layout is that of the published preprocessing, with two differences: files are named after
their subject and their slice of its volume, and each split has one folder, so that neither
subjects nor splits can get mixed up:

    <folder>/
        train/
            images/mr_07_slice_012.png      grey, 8 or 16 bits: 0 is -1, the largest value is 1
            labels/ct_03_slice_040.png      8 bits, the class id itself
        validation/ ...
        test/ ...
        classes.csv                         id, name and colour of every class
        slices.csv                          subject, patient, split, slice and spacing of every file

An image and a label map of one name in one split are of the same slice. In the training split only
what feeds a stream is written: an MR that is kept to measure against must not be trained on. Of
other splits everything is written.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medusis_tf.config.data import Axis, DataConfig, Stream
from medusis_tf.data.shards.manifest import SubjectRecord
from medusis_tf.data.slicing.slices import SliceGrid
from medusis_tf.errors import UserError

if TYPE_CHECKING:
    from medusis_tf.data.shards.shards import Shards

FOLDERS: dict[Stream, str] = {"label_map": "labels", "image": "images"}
CLASS_COLUMNS = ("id", "name", "r", "g", "b")
SLICE_COLUMNS = (
    "file", "subject", "patient", "split", "slice", "row_mm", "column_mm", "slice_mm",
)  # fmt: skip

_BODY_AXES: dict[Axis, int] = {"sagittal": 0, "coronal": 1, "axial": 2}


def export_png(shards: Shards, data: DataConfig, folder: Path, bits: Literal[8, 16] = 16) -> int:
    """Write all slices as PNG files, in the layout above; the folder appears whole or not at all.

    With 16 bits images keep every level of the shards; with 8 bits they are rounded to the nearest
    of 256.

    Args:
        shards: The prepared data.
        data: The configuration they were made from, for the colours and the spacing.
        folder: Must be empty, or not there.
        bits: Of the images; label maps have 8.

    Returns:
        Number of PNG files.

    Raises:
        UserError: The folder is not empty or cannot be written.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(
                f"{folder} is not an empty folder: exported slices do not mix with other files. "
                "Name another folder, or empty this one."
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder.parent) as partial:
            written = Path(partial) / "slices"
            written.mkdir()
            count = _write_all(shards, data, written, bits)
            written.replace(folder)
    except OSError as error:
        raise UserError(
            f"cannot write PNG files to {folder}: {error.strerror or error}. "
            "Name a folder that is yours, on a disk with room."
        ) from None
    return count


def _write_all(shards: Shards, data: DataConfig, folder: Path, bits: Literal[8, 16]) -> int:
    classes = [(entry.id, entry.name, *entry.colour) for entry in data.classes]
    with (folder / "classes.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([CLASS_COLUMNS, *classes])
    count = 0
    with (folder / "slices.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(SLICE_COLUMNS)
        for entry in shards.records.subjects:
            if not entry.num_slices:
                continue
            for row in _write_subject(shards, data, entry, folder, bits):
                table.writerow(row)
                count += 1
    return count


def _write_subject(
    shards: Shards, data: DataConfig, entry: SubjectRecord, folder: Path, bits: Literal[8, 16]
) -> Iterator[tuple[Any, ...]]:
    """Write the slices of a subject; yields their rows of `slices.csv`."""
    from PIL import Image

    slices = shards.read(entry.subject)
    pixels: dict[Stream, np.ndarray | None] = {
        "label_map": slices.label_map,
        "image": None if slices.image is None else _levels(slices.image, bits),
    }
    spacing = [f"{value:.6g}" for value in _spacing_mm(entry, data)]
    digits = max(3, len(str(entry.depth - 1)))
    for stream, stack in pixels.items():
        if stack is None or (entry.split == "train" and stream not in entry.streams):
            continue
        place = Path(entry.split, FOLDERS[stream])
        (folder / place).mkdir(parents=True, exist_ok=True)
        for index, picture in zip(entry.slice_indices, stack, strict=True):
            path = place / f"{entry.subject}_slice_{index:0{digits}d}.png"
            Image.fromarray(picture).save(folder / path)
            yield path.as_posix(), entry.subject, entry.patient, entry.split, index, *spacing


def _levels(image: np.ndarray, bits: Literal[8, 16]) -> np.ndarray:
    dtype = np.uint8 if bits == 8 else np.uint16
    largest = np.iinfo(dtype).max
    # In place: the slices of a subject may take most of the memory there is.
    scaled = (image + np.float32(1)) * np.float32(largest / 2)
    return np.rint(scaled, out=scaled).clip(0, largest).astype(dtype)


def _spacing_mm(entry: SubjectRecord, data: DataConfig) -> tuple[float, float, float]:
    size, pixels = data.image_size, data.pixel_spacing_mm
    grid = SliceGrid(size, pixels, entry.volume_shape, entry.volume_spacing_mm, data.axis)
    return (*grid.pixel_mm, entry.volume_spacing_mm[_BODY_AXES[data.axis]])

"""Write prepared slices as PNG files, for tools that read folders of images.

The layout is that of the published preprocessing, with two differences. Files are named after
their subject and their slice, and each split has one folder, so that neither subjects nor splits
are mixed up:

    <folder>/
        train/
            images/mr_07_slice_012.png      grey, 8 or 16 bits: 0 is -1, the largest value is 1
            labels/ct_03_slice_040.png      8 bits, the class id itself
        validation/ ...
        test/ ...
        classes.csv                         id, name and colour of every class
        slices.csv                          subject, patient, split, slice and spacing of each file

An image and a label map with the same name in the same split show the same slice. The training
split contains only what is used for training: an MR that is kept for evaluation must not be
learned from. Other splits contain everything.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medusis_tf.config.data import Axis, DataConfig
from medusis_tf.config.subject import Stream
from medusis_tf.data.shards.manifest import SubjectRecord
from medusis_tf.errors import UserError
from medusis_tf.files import replacing_folder

if TYPE_CHECKING:
    from medusis_tf.data.shards.shards import Shards

FOLDERS: dict[Stream, str] = {"label_map": "labels", "image": "images"}
CLASS_COLUMNS = ("id", "name", "r", "g", "b")
SLICE_COLUMNS = (
    "file", "subject", "patient", "split", "slice", "row_mm", "column_mm", "slice_mm",
)  # fmt: skip

_BODY_AXES: dict[Axis, int] = {"sagittal": 0, "coronal": 1, "axial": 2}


def export_png(shards: Shards, data: DataConfig, folder: Path, bits: Literal[8, 16] = 16) -> int:
    """Write all slices as PNG files, in the layout above. The folder is written completely or not.

    With 16 bits, images keep every level of the prepared slices. With 8 bits, they are rounded to
    the nearest of 256 levels.

    Args:
        shards: Prepared data.
        data: Their configuration, for the colours and the spacing.
        folder: Folder to write, which must be empty or missing.
        bits: Bits of the images; label maps have 8.

    Returns:
        Number of PNG files.

    Raises:
        UserError: The folder is not empty or cannot be written.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(
                f"{folder} is not an empty folder: exported slices are not mixed with other "
                "files. Choose another folder, or empty this one."
            )
        with replacing_folder(folder) as written:
            return _write_all(shards, data, written, bits)
    except OSError as error:
        raise UserError(
            f"cannot write PNG files to {folder}: {error.strerror or error}. "
            "Choose a writable folder on a disk with enough space."
        ) from None


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
    """Write the slices of a subject, and yield their rows of `slices.csv`."""
    from PIL import Image

    slices = shards.read(entry.subject)
    stacks: dict[Stream, np.ndarray | None] = {
        "label_map": slices.label_map,
        "image": None if slices.image is None else _levels(slices.image, bits),
    }
    spacing = [f"{value:.6g}" for value in _spacing_mm(entry, data)]
    digits = max(3, len(str(entry.depth - 1)))
    for stream, stack in stacks.items():
        if stack is None or (entry.split == "train" and stream not in entry.streams):
            continue
        place = Path(entry.split, FOLDERS[stream])
        (folder / place).mkdir(parents=True, exist_ok=True)
        for index, pixels in zip(entry.slice_indices, stack, strict=True):
            path = place / f"{entry.subject}_slice_{index:0{digits}d}.png"
            Image.fromarray(pixels).save(folder / path)
            yield path.as_posix(), entry.subject, entry.patient, entry.split, index, *spacing


def _levels(image: np.ndarray, bits: Literal[8, 16]) -> np.ndarray:
    dtype = np.uint8 if bits == 8 else np.uint16
    largest = np.iinfo(dtype).max
    # In place: the slices of a subject may take most of the memory.
    scaled = (image + np.float32(1)) * np.float32(largest / 2)
    return np.rint(scaled, out=scaled).clip(0, largest).astype(dtype)


def _spacing_mm(entry: SubjectRecord, data: DataConfig) -> tuple[float, float, float]:
    slice_mm = entry.volume_spacing_mm[_BODY_AXES[data.axis]]
    return (*entry.grid(data).pixel_mm, slice_mm)

"""Volumes of a folder, one for each subject, as slices: images to evaluate, or masks."""

from __future__ import annotations

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from medusis_tf.config.data import DataConfig, Split, Subject
from medusis_tf.config.intensity import NyulIntensity
from medusis_tf.data.intensities.intensity import (
    IntensityScale,
    scale_intensity,
    standard_landmarks,
)
from medusis_tf.data.preparing.conversion import image_landmarks, scaling
from medusis_tf.data.preparing.subjects import load_label_map, overlap, source_grids
from medusis_tf.data.shards.labelled_subjects import LabelledSubject
from medusis_tf.data.slicing.slices import SliceGrid
from medusis_tf.data.volumes.grid import Crop, Grid, crop_to_overlap, on_one_lattice
from medusis_tf.data.volumes.reading import read_volume
from medusis_tf.data.volumes.regridding import onto_grid
from medusis_tf.data.volumes.stored_order import turned_like
from medusis_tf.data.volumes.suffixes import (
    VOLUME_SUFFIXES,
    has_volume_name,
    split_volume_name,
)
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError
from medusis_tf.evaluation.mask_ids import MaskIds
from medusis_tf.json_files import read_json
from medusis_tf.progress import PreparationProgress

_OWN_IDS = MaskIds()


class FolderVolumes:
    """The volumes of a folder, named `SUBJECT.nii.gz` or so, sliced like the data set.

    Every format is read: files with the suffix of their format, DICOM series and PNG slices as
    folders `SUBJECT`.

    The intensities of -1 and 1 are read from `SUBJECT.json`, as `synthesize` writes it, or from
    `intensity.json` for the whole folder. Without either, an image is scaled by `data.intensity`,
    like a real image of the data set. The background is kept.

    Args:
        folder: Folder of the volumes. Those on another grid than their subject's label map are
            resampled, and the log says so.
        kind: Whether the volumes are images, or label maps.
        data: Configuration of the data set.
        split: Split of the subjects.
        ids: Meaning of the ids in label maps.

    Raises:
        UserError: A volume is missing or cannot be used. All volumes are read once, and the message
            lists all problems.
    """

    def __init__(
        self,
        folder: Path,
        kind: Literal["image", "label_map"],
        data: DataConfig,
        split: Split,
        ids: MaskIds = _OWN_IDS,
    ):
        self._folder, self._kind, self._data, self._ids = folder, kind, data, ids
        self._entries = {e.subject: e for e in data.subjects_of(split) if e.has_label_map}
        self._check()
        self._sliced = lru_cache(maxsize=2)(self._slice)

    def slices(self, subject: LabelledSubject) -> np.ndarray:
        """The slices that a subject is evaluated on.

        Returns:
            `[slices, height, width]`: float32 in [-1, 1], or uint8 class ids.
        """
        return self._sliced(subject.name)[subject.slice_indices]

    def _check(self) -> None:
        paths, problems = {}, []
        for name in self._entries:
            try:
                paths[name] = find_volume(self._folder, name)
            except UserError as error:
                problems.append(str(error))
        if problems:
            raise UserError("\n".join(problems))
        with PreparationProgress(len(paths), "checked") as progress:
            for name, path in paths.items():
                try:
                    volume = self._read(name)
                    self._slices_of(volume, name)
                    notes = [note.removeprefix(f"{path}: ") for note in volume.warnings]
                    progress.advance("; ".join([f"{path}: {self._scaling(path)}", *notes]))
                except UserError as error:
                    problems.append(f"subject {name}: {error}")
                    progress.advance(f"{path}: cannot be used")
        if problems:
            raise UserError("\n".join(problems))

    def _slice(self, name: str) -> np.ndarray:
        """All slices of a subject, including those that are not evaluated."""
        return self._slices_of(self._read(name), name)

    def _read(self, name: str) -> Volume:
        """The volume of a subject, where its slices are."""
        path, entry, data = find_volume(self._folder, name), self._entries[name], self._data
        if self._kind == "image":
            return part_on_label_map(read_volume(path, data.reading), entry, data)
        mask = self._ids.read(path, data, _label_map_grid(source_grids(entry, data)))
        return part_on_label_map(mask, entry, data, is_label_map=True)

    def _slices_of(self, volume: Volume, name: str) -> np.ndarray:
        grid = self._centred(SliceGrid.of(Grid.of(volume), self._data), self._entries[name])
        if self._kind == "image":
            return self._images(volume, grid)
        return grid.label_slices(volume.array)

    def _centred(self, grid: SliceGrid, entry: Subject) -> SliceGrid:
        """The grid of the slices that were prepared, whatever it is centred on."""
        if self._data.centre == "volume":
            return grid
        crop, _ = overlap(source_grids(entry, self._data))
        return grid.centred_on(grid.upright(crop.of(load_label_map(entry, self._data)).array))

    def _images(self, volume: Volume, grid: SliceGrid) -> np.ndarray:
        given = written_scale(volume.path)
        if given is not None:
            return grid.image_slices(volume, lambda values: scale_intensity(values, given))
        scale, _ = scaling(volume, self._data, self._standard)
        return grid.image_slices(volume, scale)

    @cached_property
    def _standard(self) -> tuple[float, ...] | None:
        """Standard landmarks of the training images, which are read only for Nyul intensities."""
        intensity = self._data.intensity
        if not isinstance(intensity, NyulIntensity):
            return None
        used = [e for e in self._data.subjects_of("train") if "image" in e.used_streams]
        return standard_landmarks([image_landmarks(e, self._data, intensity) for e in used])

    def _scaling(self, path: Path) -> str:
        if self._kind == "label_map":
            return "checked"
        given = written_scale(path) is not None
        return "scaled by its JSON file" if given else "scaled by data.intensity"


def find_volume(folder: Path, name: str) -> Path:
    """Find the volume of a subject in a folder.

    Raises:
        UserError: There is none, or there are two.
    """
    paths = [folder / f"{name}{suffix}" for suffix in VOLUME_SUFFIXES if suffix != ".img"]
    found = [path for path in paths if path.is_file()]
    if (folder / name).is_dir():
        found.append(folder / name)  # a DICOM series, or PNG slices
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{folder} has {found[0].name} and {found[1].name}. Remove one of them.")
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}. Check the path.")
    raise UserError(
        f"{folder} has no volume of subject {name}. Give {paths[0].name} for every "
        "subject of the split that has a label map, or another --split."
    )


def part_on_label_map(
    volume: Volume, entry: Subject, data: DataConfig, *, is_label_map: bool = False
) -> Volume:
    """The part of a volume that the slices of a subject show, on their grid.

    If the subject has an image, this is the overlap of its label map and its image. A volume on
    another grid is resampled, and has a warning that says so.

    Args:
        volume: Volume in any orientation; it can be larger.
        entry: Subject.
        data: Configuration of the data set.
        is_label_map: Whether the volume has ids, which are never interpolated.

    Returns:
        The volume on the grid of the slices; with `pair_by: voxel`, turned like the label map.

    Raises:
        UserError: The volume does not cover the needed part, or has another shape with
            `pair_by: voxel`.
    """
    grids = source_grids(entry, data)
    whole = _label_map_grid(grids)
    if data.pair_by == "voxel":
        return turned_like(volume, whole)
    crop, _ = overlap(grids)
    wanted, found = crop.of_grid(whole), Grid.of(volume)
    if not on_one_lattice(found, wanted):
        return onto_grid(volume, wanted, is_label_map=is_label_map)
    own, covered = crop_to_overlap(found, wanted)
    if covered != Crop.whole(wanted.shape):
        part = own.of(volume).shape
        raise UserError(
            f"{volume.path} shows only {part} of the {wanted.shape} voxels on which subject "
            f"{entry.subject} is evaluated. It must show all of the label map {whole.path}, "
            "as what synthesize writes."
        )
    return own.of(volume)


def _label_map_grid(grids: dict[str, Grid]) -> Grid:
    """The grid of the label map, or of the CT that it is made from."""
    return grids.get("label_map") or grids["ct"]


FOLDER_SCALE = "intensity.json"


def written_scale(path: Path) -> IntensityScale | None:
    """Read the intensities of -1 and 1 from the JSON file beside an image or of its folder.

    Args:
        path: Path of the image.

    Returns:
        None if there is no such file, or it has no intensities.

    Raises:
        UserError: A file is invalid.
    """
    stem = split_volume_name(path)[0] if has_volume_name(path) else path.name
    for beside in (path.with_name(f"{stem}.json"), path.with_name(FOLDER_SCALE)):
        if not beside.is_file():
            continue
        try:
            found = read_json(beside)
            if "intensity" in found:
                ends = found["intensity"]
                source, scaled = (tuple(map(float, ends[key])) for key in ("source", "scaled"))
                return IntensityScale(source, scaled)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{beside} does not define the intensities of -1 and 1: {error}. Write for example "
                '{"intensity": {"source": [0, 255], "scaled": [-1, 1]}}, or remove the file to '
                "scale the images by data.intensity."
            ) from None
    return None

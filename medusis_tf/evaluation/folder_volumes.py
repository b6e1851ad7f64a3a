"""Volumes of a folder, one for each subject, as slices: pictures to judge, or masks."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from medusis_tf.config.data import DataConfig, Split, Subject
from medusis_tf.config.intensity import NyulIntensity, SliceMinMaxIntensity
from medusis_tf.data.intensities.intensity import (
    IntensityScale,
    scale_intensity,
    slice_scales,
    standard_landmarks,
    volume_scale,
)
from medusis_tf.data.preparing.conversion import image_landmarks
from medusis_tf.data.preparing.subjects import overlap, source_grids
from medusis_tf.data.shards.labelled_subjects import LabelledSubject
from medusis_tf.data.slicing.slices import SliceGrid
from medusis_tf.data.volumes.grid import Crop, Grid, crop_to_overlap
from medusis_tf.data.volumes.reading import read_label_map, read_volume
from medusis_tf.data.volumes.suffixes import NIFTI_SUFFIXES, split_nifti_name
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError
from medusis_tf.progress import PreparationProgress


class FolderVolumes:
    """The volumes `SUBJECT.nii.gz` or `SUBJECT.nii` of a folder, sliced as the data set is.

    What -1 to 1 stand for in a picture is read from `SUBJECT.json`, as `synthesize` writes it, or
    from `intensity.json` for the whole folder; without either, a picture is scaled as a real image
    of the data set, by `data.intensity`. Nothing is removed from its background.

    Args:
        folder: Where they lie, each on the grid of its subject's label map.
        kind: Whether they are images, or label maps of the experiment's class ids.
        data: The configuration of the data set.
        split: Whose volumes are wanted.

    Raises:
        UserError: Names every subject of the split with a label map that has no file, or one that
            cannot be used. All are read once, so that this is told before anything is judged.
    """

    def __init__(
        self, folder: Path, kind: Literal["image", "label_map"], data: DataConfig, split: Split
    ):
        self._folder, self._kind, self._data = folder, kind, data
        self._entries = {e.subject: e for e in data.subjects_of(split) if e.has_label_map}
        self._check()
        self._sliced = lru_cache(maxsize=2)(self._slice)

    def slices(self, subject: LabelledSubject) -> np.ndarray:
        """The slices that a subject is judged on.

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
                    self._slice(name)
                    progress.advance(f"{path}: {self._told(path)}")
                except UserError as error:
                    problems.append(f"subject {name}: {error}")
                    progress.advance(f"{path}: cannot be used")
        if problems:
            raise UserError("\n".join(problems))

    def _slice(self, name: str) -> np.ndarray:
        """All slices of a subject, those too that it is not judged on."""
        read = read_volume if self._kind == "image" else read_label_map
        volume = read(find_volume(self._folder, name), self._data.reading)
        volume = part_on_label_map(volume, self._entries[name], self._data)
        grid = SliceGrid.of(Grid.of(volume), self._data)
        return self._images(volume, grid) if self._kind == "image" else self._classes(volume, grid)

    def _images(self, volume: Volume, grid: SliceGrid) -> np.ndarray:
        given, intensity = written_scale(volume.path), self._data.intensity
        if given is None and isinstance(intensity, SliceMinMaxIntensity):
            return grid.image_slices(volume, _scale_each)
        scale = given or volume_scale(volume, intensity, self._standard)
        return grid.image_slices(volume, lambda values: scale_intensity(values, scale))

    def _classes(self, volume: Volume, grid: SliceGrid) -> np.ndarray:
        least, greatest = int(volume.array.min()), int(volume.array.max())
        if least < 0 or greatest >= self._data.num_classes:
            raise UserError(
                f"{volume.path} holds id {least if least < 0 else greatest}. Masks hold the class "
                f"ids of the configuration, 0 to {self._data.num_classes - 1}; give those of its "
                "classes another tool's ids became."
            )
        return grid.label_slices(volume.array).astype(np.uint8)

    @cached_property
    def _standard(self) -> tuple[float, ...] | None:
        """Of the images that are trained on: they are read where it is needed only."""
        intensity = self._data.intensity
        if not isinstance(intensity, NyulIntensity):
            return None
        used = [e for e in self._data.subjects_of("train") if "image" in e.used_streams]
        return standard_landmarks([image_landmarks(e, self._data, intensity) for e in used])

    def _told(self, path: Path) -> str:
        if self._kind == "label_map":
            return "checked"
        given = written_scale(path) is not None
        return "scaled as its JSON file says" if given else "scaled by data.intensity"


def find_volume(folder: Path, name: str) -> Path:
    """The volume of a subject in a folder.

    Raises:
        UserError: There is none, or there are two.
    """
    paths = [folder / f"{name}{suffix}" for suffix in NIFTI_SUFFIXES]
    found = [path for path in paths if path.is_file()]
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(f"{folder} has {found[0].name} and {found[1].name}. Take one of them out.")
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}. Check the path.")
    raise UserError(
        f"{folder} has no volume of subject {name}. Give {paths[0].name} for every "
        "subject of the split that has a label map, or another --split."
    )


def part_on_label_map(volume: Volume, entry: Subject, data: DataConfig) -> Volume:
    """The part of a volume that the slices of a subject show.

    Where the subject has an image, that is what its label map and its image have in common.

    Args:
        volume: On the grid of the subject's label map, in any orientation; it may be larger.
        entry: The subject.
        data: The configuration of the data set.

    Returns:
        The volume on the grid of the slices; with `pair_by: voxel` the label map's place is taken.

    Raises:
        UserError: The volume lies on another grid, or does not cover all that is needed.
    """
    grids = source_grids(entry, data)
    whole = grids.get("label_map") or grids["ct"]
    crop, _ = overlap(grids, data)
    wanted, found = crop.of_grid(whole), Grid.of(volume)
    if data.pair_by == "voxel":
        if found.shape != whole.shape:
            raise UserError(
                f"{volume.path} must have the shape of the label map {whole.path}. "
                f"Received: {found.shape} and {whole.shape}"
            )
        return replace(volume, affine=whole.affine)
    own, covered = crop_to_overlap(found, wanted)
    if covered != Crop.whole(wanted.shape):
        part = own.of(volume).shape
        raise UserError(
            f"{volume.path} shows only {part} of the {wanted.shape} voxels that subject "
            f"{entry.subject} is judged on. It must lie on the grid of the label map {whole.path}, "
            "as synthesize writes it."
        )
    return own.of(volume)


def _scale_each(values: np.ndarray) -> np.ndarray:
    pairs = zip(values, slice_scales(values), strict=True)
    return np.stack([scale_intensity(part, scale) for part, scale in pairs])


FOLDER_SCALE = "intensity.json"


def written_scale(path: Path) -> IntensityScale | None:
    """What -1 to 1 stand for in a picture, from the JSON file beside it or that of its folder.

    Args:
        path: Of the picture.

    Returns:
        None if there is no such file, or it says nothing of intensities.

    Raises:
        UserError: A file is broken.
    """
    stem, _ = split_nifti_name(path)
    for beside in (path.with_name(f"{stem}.json"), path.with_name(FOLDER_SCALE)):
        if not beside.is_file():
            continue
        try:
            found = json.loads(beside.read_text(encoding="utf-8"))
            if "intensity" in found:
                ends = found["intensity"]
                source, scaled = (tuple(map(float, ends[key])) for key in ("source", "scaled"))
                return IntensityScale(source, scaled)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"{beside} does not say what -1 to 1 stand for: {error}. Write "
                '{"intensity": {"source": [0, 255], "scaled": [-1, 1]}}, for example, or take it '
                "out to scale the pictures by data.intensity."
            ) from None
    return None

"""Register the CT of a subject to the image, and write the pair."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medusis_tf.config.data import DataConfig, Subject
from medusis_tf.data.labels.remapping import holds_masks, mask_files
from medusis_tf.data.preparing.paths import resolve_path
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.nifti import write_volume
from medusis_tf.data.volumes.reading import read_label_map, read_volume
from medusis_tf.data.volumes.stored_order import turned_like
from medusis_tf.data.volumes.suffixes import has_nifti_name, split_nifti_name
from medusis_tf.files import replacing_folder
from medusis_tf.registration.deformable import (
    COARSE,
    CT_RANGE,
    FINE,
    MR_PERCENTILES,
    identity,
    jacobian,
    register,
    warp,
)
from medusis_tf.registration.quality import (
    PairQuality,
    class_means_psnr,
    mutual_information,
    outline_dice,
    pair_slices,
)
from medusis_tf.registration.source_names import naming_sources
from medusis_tf.registration.sources import Sources, open_sources
from medusis_tf.written_files import files_in, record_files

DESCRIPTION = "registered to an MR by medusis_tf"
RIGID, CHOICES = "as before", {"mesh 40 and 20 mm": FINE, "mesh 40 mm": COARSE}


@dataclass(frozen=True)
class RegisteredPair:
    """A subject whose CT was registered to the image.

    Attributes:
        subject: Entry of the configuration, with the volumes that were written.
        before: Quality of the pair as it was.
        after: Quality of the pair that was written.
        chosen: What was written: a key of `CHOICES`, or `RIGID`.
        refused: Why finer registrations were not taken, by their key in `CHOICES`.
    """

    subject: Subject
    before: PairQuality
    after: PairQuality
    chosen: str
    refused: Mapping[str, str]

    @property
    def warnings(self) -> list[str]:
        """What makes the pair that was written implausible."""
        return self.after.warnings(self.before)


def register_subject(subject: Subject, data: DataConfig, folder: Path, seed: int) -> RegisteredPair:
    """Register the CT of a subject to the image, and write CT, labels and image to a folder.

    The finest registration that does not fold and fits better than the pair as it was is written.
    If there is none, the pair is written as it was, resampled onto the grid of the image.

    Args:
        subject: Subject with `ct` and `image`.
        data: Configuration of the data.
        folder: New root of the data; the volumes go to `folder/SUBJECT`.
        seed: Seed of the registration.

    Raises:
        UserError: A volume cannot be used or written, or SimpleITK is not installed.
    """
    sources = open_sources(subject, data)
    mr, ct = sources.image.intensities(), sources.ct.intensities()
    mr_grid, ct_grid = Grid.of(sources.image), Grid.of(sources.ct)
    refused: dict[str, str] = {}
    with (
        replacing_folder(folder / subject.subject) as target,
        naming_sources(subject.subject, _written(sources, target), sources.hint()),
    ):
        entry = _write(sources, identity(), target)
        before = after = _measure(sources, entry, target)
        chosen = RIGID
        for name, spline in CHOICES.items():
            transform = register(mr, mr_grid, ct, ct_grid, spline, seed)
            determinants = jacobian(transform, mr_grid)
            entry = _write(sources, transform, target)
            after = replace(
                _measure(sources, entry, target),
                smallest_jacobian=float(determinants.min()),
                folded=float(np.mean(determinants <= 0)),
            )
            if not (problems := after.problems(before)):
                chosen = name
                break
            refused[name] = ", ".join(problems)
        else:
            entry, after = _write(sources, identity(), target), before
        record_files(target, files_in(target))
    return RegisteredPair(_inside(entry, subject.subject), before, after, chosen, refused)


def copy_subject(subject: Subject, data: DataConfig, folder: Path) -> Subject:
    """Copy the volumes of a subject that is not registered.

    Args:
        subject: Entry of the configuration.
        data: Configuration of the data.
        folder: New root of the data; the volumes go to `folder/SUBJECT`.

    Returns:
        The entry with the copied volumes.

    Raises:
        UserError: A volume is missing.
    """
    with replacing_folder(folder / subject.subject) as target:
        paths: dict[str, Any] = {
            role: _copy(resolve_path(data.root, path, data.follow_links), target, role)
            for role in ("label_map", "ct", "image")
            if (path := getattr(subject, role)) is not None
        }
        paths["overlays"] = {
            name: _copy(
                resolve_path(data.root, path, data.follow_links), target, _overlay_name(name)
            )
            for name, path in subject.overlays.items()
        }
        record_files(target, files_in(target))
    return _inside(subject.model_copy(update=paths), subject.subject)


def _written(sources: Sources, target: Path) -> dict[Path, Path]:
    """What is written to `target` for a subject, with the source of each file."""
    subject = sources.subject
    written = {_overlay_name(name): path for name, path in subject.overlays.items()}
    for role in ("ct", "label_map"):
        if (path := getattr(subject, role)) is not None:
            written[role] = path
    found = {target / f"{name}.nii.gz": sources.path(path) for name, path in written.items()}
    if subject.label_map is not None:  # a folder of masks
        found[target / "label_map"] = sources.path(subject.label_map)
    if subject.image is not None:
        image = sources.path(subject.image)
        found[target / _copied_name(image, "image")] = image
    return found


def _ct(subject: Subject) -> Path:
    if subject.ct is None:
        raise ValueError(f"subject {subject.subject} has no CT")
    return subject.ct


def _write(sources: Sources, transform: Any, target: Path) -> Subject:
    """Write the warped volumes; returns the entry with paths relative to `target`."""
    subject, onto = sources.subject, Grid.of(sources.image)
    warped = warp(sources.ct.intensities(), Grid.of(sources.ct), onto, transform)
    write_volume(target / "ct.nii.gz", np.rint(warped).astype(np.int32), onto, DESCRIPTION)
    paths: dict[str, Any] = {"ct": Path("ct.nii.gz"), "overlays": {}}
    for name, path in subject.overlays.items():
        file = f"{_overlay_name(name)}.nii.gz"
        _warp_labels(sources, sources.path(path), target / file, transform)
        paths["overlays"][name] = Path(file)
    if subject.label_map is not None:
        paths["label_map"] = _write_label_map(sources, subject.label_map, target, transform)
    if subject.image is not None:
        paths["image"] = _copy(sources.path(subject.image), target, "image")
    return subject.model_copy(update=paths)


def _write_label_map(sources: Sources, path: Path, target: Path, transform: Any) -> Path:
    source = sources.path(path)
    if not holds_masks(source):
        _warp_labels(sources, source, target / "label_map.nii.gz", transform)
        return Path("label_map.nii.gz")
    for name, mask in mask_files(source).items():
        _warp_labels(sources, mask, target / "label_map" / f"{name}.nii.gz", transform)
    return Path("label_map")


def _warp_labels(sources: Sources, source: Path, file: Path, transform: Any) -> None:
    labels = read_label_map(source, sources.data.reading)
    if sources.data.pair_by == "voxel":
        labels = turned_like(labels, Grid.of(sources.ct))
    onto = Grid.of(sources.image)
    warped = warp(labels.array, Grid.of(labels), onto, transform, is_label_map=True)
    write_volume(file, warped, onto, DESCRIPTION)


def _measure(sources: Sources, entry: Subject, target: Path) -> PairQuality:
    data = sources.data.model_copy(update={"root": target})
    labels, images = pair_slices(entry, data)
    mr = sources.image.intensities()
    ct = read_volume(target / "ct.nii.gz").intensities()
    return PairQuality(
        outline_dice(labels, images),
        class_means_psnr(labels, images, data.num_classes),
        mutual_information(np.clip(ct, *CT_RANGE), np.clip(mr, *np.percentile(mr, MR_PERCENTILES))),
    )


def _copy(source: Path, target: Path, name: str) -> Path:
    """Copy a file or folder as `target/name` with its suffix; returns the path in `target`."""
    copied = _copied_name(source, name)
    if source.is_dir():
        shutil.copytree(source, target / copied, dirs_exist_ok=True)
    else:
        shutil.copyfile(source, target / copied)
    return copied


def _copied_name(source: Path, name: str) -> Path:
    if source.is_dir():
        return Path(name)
    suffix = split_nifti_name(source)[1] if has_nifti_name(source) else source.suffix
    return Path(f"{name}{suffix}")


def _overlay_name(class_name: str) -> str:
    return "overlay_" + re.sub(r"[^A-Za-z0-9._-]", "_", class_name)


def _inside(entry: Subject, folder: str) -> Subject:
    """The entry with paths relative to the parent of `folder`."""
    paths: dict[str, Any] = {
        role: Path(folder) / path
        for role in ("label_map", "ct", "image")
        if (path := getattr(entry, role)) is not None
    }
    paths["overlays"] = {name: Path(folder) / path for name, path in entry.overlays.items()}
    return entry.model_copy(update=paths)

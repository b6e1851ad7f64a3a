"""Paint the volumes of one request: label map in, MR volumes and their records out."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.nifti import DESCRIPTION, write_volume
from medusis_tf.data.volumes.suffixes import has_nifti_name
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError
from medusis_tf.server.messages import in_fields
from medusis_tf.server.served_models import ServedModel
from medusis_tf.server.settings import Refusal, ServerLimits
from medusis_tf.server.uploads import Upload, store
from medusis_tf.serving.finer_label_map import fine_label_map
from medusis_tf.serving.grids import grid_lines, painted_slices, painting_grid
from medusis_tf.serving.label_maps import (
    MODEL_IDS,
    LabelMapOptions,
    grid_for_model,
    read_for_model,
)
from medusis_tf.serving.noises import between

logger = logging.getLogger(__name__)

_PAIRS = ("LR", "AP", "SI")
# A file has at least one byte for so many voxels: the limit of DEFLATE.
_VOXELS_PER_BYTE = 1032
_LARGEST_SEED = 2**31 - 1


@dataclass(frozen=True)
class PaintingRequest:
    """What to paint; all values are checked.

    Attributes:
        seed: Seed of the first sample; the next samples have the next seeds.
        truncation: Bound a >= 0 of the noise; infinite for none.
        samples: Number of volumes.
        other_seed: Seed at the other end of an interpolation.
        blend: Position between the noise of `seed`, 0, and that of `other_seed`, 1; with
            `other_seed` only.
        label_source: Name of the meaning of the ids; None to find it out.
        unlisted: Class of ids without a class; None for the rule of the training.
        assume_axes: Axes of a label map without an orientation, such as `RAS`.
        not_finite: `replace` to make voxels that are not finite background.
    """

    seed: int = 0
    truncation: float = math.inf
    samples: int = 1
    other_seed: int | None = None
    blend: float | None = None
    label_source: str | None = None
    unlisted: str | None = None
    assume_axes: str | None = None
    not_finite: str | None = None

    @property
    def options(self) -> LabelMapOptions:
        """Meaning of the ids, and reading."""
        changes = {"assume_axes": self.assume_axes, "not_finite": self.not_finite}
        reading = {name: value for name, value in changes.items() if value is not None}
        return LabelMapOptions(self.label_source, self.unlisted, reading)

    def check(self, model: ServedModel, limits: ServerLimits) -> None:
        """Check all values.

        Raises:
            Refusal: A value is out of range.
        """
        for name, seed in (("seed", self.seed), ("other_seed", self.other_seed or 0)):
            if not 0 <= seed <= _LARGEST_SEED - self.samples:
                raise Refusal(400, f"{name} must be from 0 to {_LARGEST_SEED - self.samples}.")
        if not self.truncation >= 0:
            raise Refusal(400, "truncation must be 0 or more (inf for none).")
        if not 1 <= self.samples <= limits.samples:
            raise Refusal(400, f"samples must be from 1 to {limits.samples}.")
        if (self.blend is None) != (self.other_seed is None):
            raise Refusal(400, "other_seed and blend belong together: give both, or none.")
        if self.blend is not None and not 0 <= self.blend <= 1:
            raise Refusal(400, "blend must be from 0 to 1.")
        # A name, never a path: files of the server are not read for a request.
        sources = [*model.metadata.label_sources, MODEL_IDS]
        if self.label_source is not None and self.label_source not in sources:
            raise Refusal(400, f"label_source must be one of {', '.join(sources)}.")
        names = [entry.name for entry in model.metadata.classes]
        if self.unlisted is not None and self.unlisted not in names:
            raise Refusal(400, f"unlisted must be one of the classes {', '.join(names)}.")
        if self.assume_axes is not None and not _is_orientation(self.assume_axes):
            raise Refusal(400, "assume_axes must be three directions, such as RAS or LPS.")
        if self.not_finite not in (None, "error", "replace"):
            raise Refusal(400, "not_finite must be error or replace.")


def _is_orientation(axes: str) -> bool:
    return len(axes) == 3 and all(any(letter in axes for letter in pair) for pair in _PAIRS)


Report = Callable[[int, int], None]


class Painting:
    """The volumes of one request, in a folder of their own.

    Args:
        model: Model to paint with.
        request: What to paint.
        folder: Folder of its own; its file names come from here, never from a request.

    Attributes:
        warnings: One sentence for each suspicious property of the label map.
        folder: The folder.
    """

    def __init__(self, model: ServedModel, request: PaintingRequest, folder: Path):
        self.model = model
        self.request = request
        self.warnings: tuple[str, ...] = ()
        self.folder = folder
        self._source = folder
        self._reference: Path | Grid = folder
        self._sha256 = ""

    @property
    def label_map_path(self) -> Path:
        """Label map in the classes of the model, from `read`."""
        return self.folder / "classes.nii.gz"

    def volume_path(self, sample: int) -> Path:
        """MR volume of a sample, from `paint`."""
        return self.folder / f"synthetic_{sample + 1}.nii.gz"

    def record_path(self, sample: int) -> Path:
        """Record of the origin of a sample, from `paint`."""
        return self.folder / f"synthetic_{sample + 1}.json"

    def read(self, upload: Upload, limits: ServerLimits) -> Volume:
        """Read the label map, and write it in the classes of the model.

        Args:
            upload: File of any format that is read, or an archive of a DICOM series.
            limits: Limits of the server.

        Raises:
            Refusal: It is no label map for this model, or too large.
        """
        self._sha256 = hashlib.sha256(upload.content).hexdigest()
        self._source = store(upload, self.folder, limits)
        metadata, options = self.model.metadata, self.request.options
        reading = options.reading_of(metadata)
        try:
            # The header first: a small file may announce, and unpack to, any number of voxels.
            self._check_size(grid_for_model(self._source, reading), upload, limits)
            coarse = read_for_model(self._source, metadata, options)
            volume = fine_label_map(coarse, None, metadata)
            self._check_painted(volume, limits)
            lines = (*volume.warnings, *grid_lines(volume, metadata))
        except UserError as error:
            raise Refusal(400, in_fields(str(error), self._source)) from None
        # As `synthesize` does it: the header of a NIfTI file, if it has an orientation.
        keeps_header = has_nifti_name(self._source) and reading.assume_axes is None
        self._reference = self._source if keeps_header else Grid.of(volume)
        self._write(self.label_map_path, volume.array, "label map")
        self.warnings = tuple(in_fields(line, self._source) for line in lines)
        return volume

    def paint(self, label_map: Volume, sample: int, report: Report) -> None:
        """Paint one sample and write its volume and record.

        Args:
            label_map: From `read`.
            sample: Number of the sample, from 0.
            report: Function of the finished slices and of all slices; it may raise to stop.

        Raises:
            Refusal: The label map cannot be painted.
        """
        try:
            noises = self._noises(sample)
            array = self.model.synthesize_volume(label_map, progress=report, noises=noises)
        except UserError as error:
            raise Refusal(400, in_fields(str(error), self._source)) from None
        self._write(self.volume_path(sample), array, DESCRIPTION)
        text = json.dumps(self._record(sample), indent=2)
        self.record_path(sample).write_text(text, encoding="utf-8")

    def _record(self, sample: int) -> dict[str, Any]:
        request, metadata = self.request, self.model.metadata
        other = None if request.other_seed is None else request.other_seed + sample
        return {
            "synthetic": True,
            "volume": self.volume_path(sample).name,
            "model": metadata.name,
            "model_version": int(self.model.version),
            "step": metadata.step,
            "seed": request.seed + sample,
            "interpolated_to": other,
            "blend": None if other is None else request.blend,
            "truncation": request.truncation if math.isfinite(request.truncation) else None,
            "label_map_sha256": self._sha256,
            "warnings": list(self.warnings),
            "intensity": vars(metadata.intensity),
            "medusis_tf": version("medusis_tf"),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def delete_source(self) -> None:
        """Delete what was received; it is not needed for anything any more."""
        if self._source.is_dir() and self._source != self.folder:
            shutil.rmtree(self._source, ignore_errors=True)
        elif self._source != self.folder:
            self._source.unlink(missing_ok=True)

    def _write(self, path: Path, array: np.ndarray, description: str) -> None:
        try:
            write_volume(path, array, self._reference, description)
        except UserError as error:
            logger.error("%s", error)
            raise Refusal(
                507, "the server cannot store the volume; its disk may be full."
            ) from None

    def _check_size(self, grid: Grid, upload: Upload, limits: ServerLimits) -> None:
        voxels = prod(grid.shape)
        if voxels > limits.voxels:
            raise Refusal(413, f"the label map has {voxels} voxels; limit: {limits.voxels}.")
        is_dicom = self._source.is_dir() or self._source.suffix == ".dcm"  # may leave out slices
        if not is_dicom and voxels > _VOXELS_PER_BYTE * len(upload.content):
            raise Refusal(400, f"the label map is too short for its {voxels} voxels.")

    def _check_painted(self, volume: Volume, limits: ServerLimits) -> None:
        """Check the voxels to paint: large voxels become many."""
        grid = painting_grid(volume, self.model.metadata)
        count = painted_slices(grid, self.model.metadata)
        if (painted := prod(grid.size) * count) > limits.voxels:
            raise Refusal(
                413,
                f"the label map becomes {painted} voxels with the pixels of the model; "
                f"limit: {limits.voxels}.",
            )

    def _noises(self, sample: int) -> list[np.ndarray]:
        request = self.request
        first = self.model.draw_noise(request.seed + sample, request.truncation)
        if request.other_seed is None or request.blend is None:
            return [first]
        if self.model.metadata.is_diffusion:
            raise Refusal(
                400,
                "other_seed and blend are not for this model: images of a diffusion model do not "
                "change smoothly with their noise.",
            )
        last = self.model.draw_noise(request.other_seed + sample, request.truncation)
        return [between(first, last, request.blend, request.truncation)]


def nifti_bytes(array: np.ndarray, grid: Grid) -> bytes:
    """A compressed NIfTI file of an LPS array."""
    import gzip

    import nibabel as nib

    from medusis_tf.data.volumes.volume import affine_in_order, from_lps

    affine = affine_in_order(grid.axes, grid.shape, grid.affine)
    content = nib.Nifti1Image(from_lps(array, affine), affine).to_bytes()
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=4, mtime=0) as file:
        file.write(content)
    return out.getvalue()

"""Write synthetic volumes for a label map file, each with a record of its origin."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np

from medusis_tf.config.data import TissueConfig
from medusis_tf.data.intensities.intensity import scale_intensity
from medusis_tf.data.labels.refinement import holds_any, refine_volume
from medusis_tf.data.labels.remapping import remap
from medusis_tf.data.labels.tissue import tissue_label_map
from medusis_tf.data.shards.spread import spread_centres
from medusis_tf.data.volumes.nifti import read_label_map, read_volume, write_volume
from medusis_tf.data.volumes.suffixes import has_nifti_name, split_nifti_name
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError
from medusis_tf.files import replacing
from medusis_tf.panels import PanelRow, panel
from medusis_tf.serving.metadata import ModelMetadata, find_model, read_metadata

NUM_PREVIEW_ROWS = 4


@dataclass(frozen=True)
class SynthesisRequest:
    """What to synthesize.

    Attributes:
        model_dir: `saved_models/NAME` or `saved_models/NAME/VERSION`.
        label_map: NIfTI file with class ids; None to make a tissue label map from `ct`.
        out: NIfTI file to write; with several samples, `_1`, `_2`, ... is added to its name.
        seed: Seed of the first sample; the next samples have the next seeds.
        truncation: Bound a >= 0 of the noise, drawn from N(0, 1) conditioned on [-a, a].
        samples: Number of volumes.
        batch_size: Slices per batch; None for the default of the machine.
        ct: CT that cuts the finer classes of the model from a coarse label map.
    """

    model_dir: Path
    label_map: Path | None
    out: Path
    seed: int = 0
    truncation: float = math.inf
    samples: int = 1
    batch_size: int | None = None
    ct: Path | None = None

    def __post_init__(self) -> None:
        if self.label_map is None and self.ct is None:
            raise UserError("give --label-map, or --ct for a model of tissue label maps, or both.")
        if not has_nifti_name(self.out):
            raise UserError(f"--out must end in .nii or .nii.gz. Received: {self.out}")
        for path in self.outputs:
            _check_writable(path)
            for name, source in (("label map", self.label_map), ("CT", self.ct)):
                if source is not None and path.resolve() == source.resolve():
                    raise UserError(f"--out would replace the {name} {source}.")

    @property
    def outputs(self) -> list[Path]:
        """Paths of the volumes, one for each sample."""
        if self.samples == 1:
            return [self.out]
        stem, suffix = split_nifti_name(self.out)
        numbers = range(1, self.samples + 1)
        return [self.out.with_name(f"{stem}_{number}{suffix}") for number in numbers]


SampleProgress = Callable[[int, int, int], None]


def synthesize_files(
    request: SynthesisRequest, progress: SampleProgress | None = None
) -> np.ndarray:
    """Write synthetic volumes on the grid of the label map, and a JSON file beside each.

    Args:
        request: What to synthesize.
        progress: Function that is called with the number of the sample, counted from 0, the number
            of its finished slices, and the number of all its slices.

    Returns:
        Panel of a few slices of all samples, `[height, width, 3]` uint8.

    Raises:
        UserError: The model or the label map cannot be used, or a file cannot be written.
    """
    # Errors in the files are reported before TensorFlow starts.
    coarse = None if request.label_map is None else read_label_map(request.label_map)
    folder = find_model(request.model_dir)
    label_map = fine_label_map(coarse, request.ct, read_metadata(folder))
    from medusis_tf.serving.predictor import Predictor

    predictor = Predictor(folder)
    shown = _preview_slices(label_map)
    previews: dict[str, np.ndarray] = {}
    for number, path in enumerate(request.outputs):
        seed = request.seed + number

        def report(done: int, total: int, number: int = number) -> None:
            if progress is not None:
                progress(number, done, total)

        array = predictor.synthesize_volume(
            label_map, seed, request.truncation, report, request.batch_size
        )
        write_volume(path, array, label_map.path)
        _write_record(path, request, seed, folder, predictor.metadata)
        previews[f"synthetic MR, seed {seed}"] = array[:, :, shown]
    return _preview(label_map, shown, previews, predictor.metadata)


def fine_label_map(coarse: Volume | None, ct: Path | None, metadata: ModelMetadata) -> Volume:
    """The label map that a model paints, with its finer classes.

    Args:
        coarse: Label map of the model's classes; None to make a tissue label map from the CT.
        ct: NIfTI file of a CT in Hounsfield units; None if the label map needs none.
        metadata: Metadata of the model, with its classes, their rules and its thresholds.

    Raises:
        UserError: The label map has ids that the model does not know, or lacks the finer classes
            and there is no CT; or the CT cannot be used.
    """
    thresholds = TissueConfig.model_validate(metadata.config.get("data", {}).get("tissue") or {})
    volume = None if ct is None else read_volume(ct)
    if coarse is not None:
        label_map = remap(coarse, None, metadata.taxonomy)
    elif volume is not None:
        label_map = _tissue_label_map(volume, thresholds, metadata)
    else:
        raise ValueError("there is neither a label map nor a CT")
    if volume is not None and coarse is not None and not metadata.taxonomy.refined:
        raise UserError(
            f"the model {metadata.title} has no finer classes, so it needs no CT. Leave out --ct."
        )
    fine = [entry.id for entry in metadata.taxonomy.refined]
    if fine and volume is None and not holds_any(label_map.array, fine):
        names = ", ".join(entry.name for entry in metadata.taxonomy.refined[:5])
        raise UserError(
            f"{label_map.path} has none of the finer classes that the model {metadata.title} was "
            f"trained on ({names}). Give the CT of this label map with --ct, which they are cut "
            "by, or a label map that contains them."
        )
    return refine_volume(label_map, volume, metadata.classes, thresholds.body_hu)


def _tissue_label_map(ct: Volume, thresholds: TissueConfig, metadata: ModelMetadata) -> Volume:
    try:
        array = tissue_label_map(ct.intensities(), thresholds, metadata.classes)
    except UserError as error:
        raise UserError(
            f"no label map can be made from {ct.path} for the model {metadata.title}: {error}"
        ) from None
    return Volume(array, ct.affine, ct.path, axes=ct.axes)


def _write_record(
    path: Path, request: SynthesisRequest, seed: int, folder: Path, metadata: ModelMetadata
) -> None:
    record = {
        "synthetic": True,
        "volume": path.name,
        "model": metadata.name,
        "model_version": int(folder.name) if folder.name.isdecimal() else None,
        "step": metadata.step,
        "seed": seed,
        "truncation": request.truncation if math.isfinite(request.truncation) else None,
        **_sources(request),
        "intensity": dataclasses.asdict(metadata.intensity),
        "medusis_tf": version("medusis_tf"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    stem, _ = split_nifti_name(path)
    target = path.with_name(f"{stem}.json")
    try:
        with replacing(target) as temporary:
            temporary.write_text(json.dumps(record, indent=2))
    except OSError as error:
        raise UserError(f"cannot write {target}: {error.strerror}.") from None


def _sources(request: SynthesisRequest) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for role, path in (("label_map", request.label_map), ("ct", request.ct)):
        if path is not None:
            found[role] = path.name
            found[f"{role}_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _preview_slices(label_map: Volume) -> np.ndarray:
    occupied = np.flatnonzero(label_map.array.any(axis=(0, 1)))
    if len(occupied) == 0:
        return np.array([label_map.shape[2] // 2])
    return occupied[spread_centres(NUM_PREVIEW_ROWS, len(occupied))]


def _preview(
    label_map: Volume,
    shown: np.ndarray,
    previews: Mapping[str, np.ndarray],
    metadata: ModelMetadata,
) -> np.ndarray:
    rows = [
        PanelRow(
            label_map.array[:, :, z].T,
            {
                name: scale_intensity(array[:, :, place].T, metadata.intensity)
                for name, array in previews.items()
            },
            f"axial slice {z}",
        )
        for place, z in enumerate(shown)
    ]
    title = f"{metadata.title}: {label_map.path.name}"
    return panel(rows, metadata.classes, title)


def _check_writable(path: Path) -> None:
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK) or path.is_dir():
        raise UserError(f"cannot write {path}. Choose a file in a writable folder.")

"""Write synthetic volumes for a label map, each with a record of its origin."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.data.volumes.writing import (
    FILE_FORMATS,
    Format,
    StoredType,
    WrittenAs,
    format_of,
    write_image,
)
from medusis_tf.errors import UserError
from medusis_tf.serving.finer_label_map import fine_label_map, holds_finer
from medusis_tf.serving.grids import grid_lines
from medusis_tf.serving.label_maps import LabelMapOptions, read_for_model
from medusis_tf.serving.label_names import stated_names
from medusis_tf.serving.metadata import ModelMetadata, read_metadata
from medusis_tf.serving.model_folders import find_model
from medusis_tf.serving.noises import NoiseChoice
from medusis_tf.serving.outputs import (
    check_name,
    check_replaceable,
    check_writable,
    checked_sources,
    checksum_of,
    is_finished,
    listed,
    numbered,
    recorded,
)
from medusis_tf.serving.preview import preview, preview_slices
from medusis_tf.serving.sampling import SamplingChoice

if TYPE_CHECKING:
    from medusis_tf.serving.predictor import Predictor

__all__ = ["SynthesisRequest", "fine_label_map", "synthesize_files"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SynthesisRequest:
    """What to synthesize.

    Attributes:
        model_dir: `saved_models/NAME` or `saved_models/NAME/VERSION`.
        label_map: Volume of ids or folder of masks; None for a tissue label map of `ct`.
        out: File to write, or folder of a DICOM series; several samples get `_1`, `_2`, ...
        seed: Seed of the first sample; the next have the next seeds.
        truncation: Bound a >= 0 of the noise, drawn from N(0, 1) conditioned on [-a, a].
        samples: Number of volumes.
        batch_size: Slices per batch; None for the default of the machine.
        ct: CT that cuts the finer classes of the model from a coarse label map.
        label: Meaning of the ids in the label map, and how volumes are read.
        interpolate: Seeds A and B, in place of `seed`: the samples lead from A to B.
        mean_of: Number of noises whose mean image each sample is.
        sampling: Settings of a diffusion model.
        overwrite: Whether existing volumes are replaced.
        resume: Whether volumes made in the same way are left as they are; always with several.
        format: Format of the volumes; None to choose it by the name of `out`.
        dtype: Type of the stored numbers.
        attributes: Attributes of patient, study and series for DICOM, by keyword.
    """

    model_dir: Path
    label_map: Path | None
    out: Path
    seed: int = 0
    truncation: float = math.inf
    samples: int = 1
    batch_size: int | None = None
    ct: Path | None = None
    label: LabelMapOptions = field(default_factory=LabelMapOptions, kw_only=True)
    interpolate: tuple[int, int] | None = field(default=None, kw_only=True)
    mean_of: int = field(default=1, kw_only=True)
    sampling: SamplingChoice = field(default=SamplingChoice(), kw_only=True)
    overwrite: bool = field(default=False, kw_only=True)
    resume: bool = field(default=False, kw_only=True)
    format: Format | None = field(default=None, kw_only=True)
    dtype: StoredType = field(default="float32", kw_only=True)
    attributes: Mapping[str, str] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        if self.label_map is None and self.ct is None:
            raise UserError("give --label-map, or --ct for a model of tissue label maps, or both.")
        named = format_of(self.out)
        if self.format is None and named is None:
            raise UserError(
                f"--out must end in {', '.join(f'.{each}' for each in FILE_FORMATS[:-1])} or "
                f".{FILE_FORMATS[-1]}; or give --format dicom for a folder with a DICOM series. "
                f"Received: {self.out}"
            )
        if self.format is not None and named != (None if self.format == "dicom" else self.format):
            raise UserError(f"--format {self.format} does not fit the name of --out {self.out}.")
        if self.attributes and self.format != "dicom":
            raise UserError("--dicom KEYWORD=VALUE is for --format dicom only.")
        _ = self.noise
        for path in self.outputs:
            check_writable(path, {"label map": self.label_map, "CT": self.ct})

    @property
    def outputs(self) -> list[Path]:
        """Paths of the volumes, one for each sample."""
        return numbered(self.out, self.samples)

    @property
    def noise(self) -> NoiseChoice:
        """The noises of the samples."""
        return NoiseChoice(self.seed, self.truncation, self.samples, self.interpolate, self.mean_of)

    @property
    def written_as(self) -> WrittenAs:
        """Format and type of the volumes."""
        chosen = self.format or format_of(self.out) or "nii.gz"
        return WrittenAs(chosen, self.dtype, self.attributes)


SampleProgress = Callable[[int, int, int], None]


def synthesize_files(
    request: SynthesisRequest,
    progress: SampleProgress | None = None,
    *,
    predictor: Predictor | None = None,
) -> np.ndarray | None:
    """Write synthetic volumes on the grid of the label map, and a JSON file beside each.

    What is suspicious of the label map, or decided for it, is logged, one line each.

    Args:
        request: What to synthesize.
        progress: Function of the number of the sample, counted from 0, the number of its finished
            slices, and of all its slices.
        predictor: The opened model of `request.model_dir`; None to open it.

    Returns:
        Panel of a few slices of all new samples, `[height, width, 3]` uint8; None if all exist.

    Raises:
        UserError: The model or the label map cannot be used, a volume exists already, or a file
            cannot be written.
    """
    folder = find_model(request.model_dir)
    metadata = read_metadata(folder)
    request.noise.check(metadata)
    request.sampling.settings(metadata)  # refuses a model that it does not fit
    _check_attributes(request)
    _check_sources_exist(request)
    label_map, request = _label_map(request, metadata)
    records = _identities(request, folder, metadata)
    missing = _missing(request, records)
    if not missing:
        return None
    from medusis_tf.serving.predictor import Predictor

    predictor = predictor or Predictor(folder)
    predictor.sampling = request.sampling
    shown = preview_slices(label_map)
    previews: dict[str, np.ndarray] = {}
    for number in missing:

        def report(done: int, total: int, number: int = number) -> None:
            if progress is not None:
                progress(number, done, total)

        noises = request.noise.draw(predictor, number)
        array = predictor.synthesize_volume(
            label_map, progress=report, batch_size=request.batch_size, noises=noises
        )
        _write(request, number, array, label_map, records[number], metadata)
        previews[request.noise.title(number)] = array[:, :, shown]
    return preview(label_map, shown, previews, metadata)


def _check_attributes(request: SynthesisRequest) -> None:
    if request.format == "dicom":
        from medusis_tf.data.volumes.dicom_writing import check_attributes

        check_attributes(request.attributes)


def _check_sources_exist(request: SynthesisRequest) -> None:
    for what, path in (("label map", request.label_map), ("CT", request.ct)):
        if path is None:
            continue
        check_name(path)
        if not (path.is_file() or path.is_dir()):
            raise UserError(f"there is no file or folder {path}. Check the path of the {what}.")


def _label_map(
    request: SynthesisRequest, metadata: ModelMetadata
) -> tuple[Volume, SynthesisRequest]:
    """The label map to paint, and the request without a CT that it does not use.

    Its warnings, which include how it is resampled, are logged.
    """
    coarse = None
    if request.label_map is not None:
        coarse = read_for_model(request.label_map, metadata, request.label)
    reading = request.label.reading_of(metadata)
    label_map = fine_label_map(coarse, request.ct, metadata, reading=reading)
    lines = (*label_map.warnings, *grid_lines(label_map, metadata))
    source = request.label_map or request.ct
    for line in lines:
        text = line.removeprefix(f"{source}: ").rstrip(".")
        logger.warning("%s: %s", source, text[:1].lower() + text[1:])
    if holds_finer(coarse, metadata):
        request = dataclasses.replace(request, ct=None)
    return dataclasses.replace(label_map, warnings=lines), request


def _identities(
    request: SynthesisRequest, folder: Path, metadata: ModelMetadata
) -> list[dict[str, Any]]:
    """What makes each sample what it is, for its record."""
    label_map = request.label_map
    sources = checked_sources({"label_map": label_map, "ct": request.ct})
    names = stated_names(label_map) if label_map is not None and label_map.is_file() else {}
    shared = {
        "model": metadata.name,
        "model_version": int(folder.name) if folder.name.isdecimal() else None,
        "step": metadata.step,
        **sources,
        "label_source": request.label.label_source,
        "unlisted": request.label.unlisted,
        # Those that the file, or a file beside it, states.
        "names_sha256": checksum_of(names),
        "reading": dict(request.label.reading) or None,
        "dtype": request.dtype,
        **request.sampling.record,
        "attributes_sha256": checksum_of(dict(request.attributes)),
    }
    return [{**shared, **request.noise.record(number)} for number in range(request.samples)]


def _missing(request: SynthesisRequest, records: list[dict[str, Any]]) -> list[int]:
    """Numbers of the samples to write.

    Raises:
        UserError: One exists already, and may neither be replaced nor left as it is.
    """
    outputs = request.outputs
    if request.overwrite:
        for path in outputs:
            check_replaceable(path)
        return list(range(len(outputs)))
    may_skip = request.resume or len(outputs) > 1
    finished = [
        is_finished(path, record, may_skip) for path, record in zip(outputs, records, strict=True)
    ]
    skipped = [path for path, done in zip(outputs, finished, strict=True) if done]
    if skipped and not request.resume:
        logger.info(
            "%d of %d volumes exist already, and are skipped: %s",
            len(skipped), len(outputs), listed(skipped),
        )  # fmt: skip
    return [number for number, done in enumerate(finished) if not done]


def _write(
    request: SynthesisRequest,
    number: int,
    array: np.ndarray,
    label_map: Volume,
    identity: Mapping[str, Any],
    metadata: ModelMetadata,
) -> None:
    path = request.outputs[number]
    record = {
        "synthetic": True,
        "volume": path.name,
        **identity,
        "intensity": dataclasses.asdict(metadata.intensity),
        "warnings": list(label_map.warnings),
        "medusis_tf": version("medusis_tf"),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    ends = metadata.intensity.source[0], metadata.intensity.source[-1]
    how = request.written_as
    if request.label.reading_of(metadata).assume_axes is not None:
        how = dataclasses.replace(how, keeps_header=False)
    with recorded(path, record, request.overwrite):
        write_image(path, array, Grid.of(label_map), how, ends)

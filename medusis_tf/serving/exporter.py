"""Export a run as a SavedModel with all metadata that a client needs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pydantic
import tensorflow as tf

from medusis_tf.config.data import DataConfig
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.problems import problem_lines
from medusis_tf.data.intensities.intensity import IntensityScale, mean_scale
from medusis_tf.data.shards.manifest import Manifest
from medusis_tf.errors import UserError
from medusis_tf.files import literal
from medusis_tf.json_files import read_json
from medusis_tf.layers.spectral_conv import fold_spectral_norms
from medusis_tf.runs.checkpoints import CheckpointChoice, load_painter, load_segmenter
from medusis_tf.runs.run_dir import provenance
from medusis_tf.serving.formats import Format, Precision, check_format, write_format
from medusis_tf.serving.metadata import ModelMetadata, write_metadata
from medusis_tf.serving.model_card import write_model_card
from medusis_tf.serving.model_folders import new_version
from medusis_tf.serving.more_endpoints import image_endpoints, sample_endpoints, segment_endpoint
from medusis_tf.serving.predictor import SlicePainter
from medusis_tf.serving.signatures import Endpoints, write_saved_model
from medusis_tf.serving.static_painter import LabelType, StaticPainter
from medusis_tf.serving.warmup import write_warmup_requests

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportOptions:
    """What is written beside the SavedModel, and how.

    Attributes:
        formats: Other formats.
        precision: Type of the weights in other formats.
        labels: Type of label maps.
        size: Height and width in other formats, whose shapes are fixed; None for those of the
            training slices.
        segmenter: Whether the endpoint `segment` is written, with the segmenter of the run.
        licence: Licence of the weights, for the model card.
    """

    formats: tuple[Format, ...] = ()
    precision: Precision = Precision.FLOAT32
    labels: LabelType = "int32"
    size: tuple[int, int] | None = None
    segmenter: bool = False
    licence: str | None = None

    @property
    def others(self) -> tuple[Format, ...]:
        """The formats other than the SavedModel, each once."""
        return tuple(dict.fromkeys(each for each in self.formats if each != Format.SAVEDMODEL))


def export_run(
    run_dir: Path,
    out: Path,
    version: int | None = None,
    choice: CheckpointChoice = CheckpointChoice.NEWEST,
    options: ExportOptions = ExportOptions(),
) -> Path:
    """Export the painter of a run, with its model card.

    Args:
        run_dir: Folder of the run.
        out: Folder of all exported models.
        version: Positive version number; by default the next free one.
        choice: Checkpoint of the run.
        options: Formats and endpoints.

    Returns:
        The new folder `out/<name>/<version>`.

    Raises:
        UserError: The folder is no run or has no such checkpoint, the version exists, or the
            model cannot be written.
    """
    for wanted in options.others:
        check_format(wanted, options.precision)
    config, painter, step = load_painter(run_dir, choice)
    if options.others and (hasattr(painter, "sample") or config.volumes is not None):
        what = "the sampler of a diffusion model" if hasattr(painter, "sample") else "volumes"
        raise UserError(
            f"{', '.join(options.others)} cannot hold {what}: export it as a SavedModel only."
        )
    segmenter = _segmenter(run_dir, choice, config) if options.segmenter else None
    static = _static_painter(config, painter, options) if options.others else None
    labels = tf.dtypes.as_dtype(options.labels)
    endpoints, metadata = _endpoints(run_dir, config, painter, step, labels)
    more = _more_endpoints(endpoints, metadata, segmenter)
    more |= sample_endpoints(painter, metadata, endpoints)
    try:
        with new_version(out / metadata.name, version) as (folder, target):
            write_saved_model(endpoints, painter, folder, more, segmenter)
            write_metadata(metadata, folder)
            write_warmup_requests(
                folder,
                metadata.name,
                metadata.sample_size,
                metadata.noise_shape,
                options.labels,
                more,
            )
            files = [] if static is None else _write_others(static, folder, options)
            write_model_card(folder, metadata, run_dir, options.licence, files)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or getattr(error, "message", error)
        raise UserError(
            f"cannot write the model to {out / metadata.name}: {reason}. "
            "Choose another folder with --out."
        ) from None
    return target


def painter_of_run(
    run_dir: Path, choice: CheckpointChoice = CheckpointChoice.NEWEST
) -> SlicePainter:
    """Open the painter of a run as it would be exported.

    Args:
        run_dir: Folder of the run.
        choice: Checkpoint of the run.

    Raises:
        UserError: The folder is no run or has no such checkpoint.
    """
    return painter_of_network(run_dir, *load_painter(run_dir, choice))


def painter_of_network(
    run_dir: Path, config: ExperimentConfig, network: keras.Model, step: int
) -> SlicePainter:
    """The painter of a run's network, as it would be exported.

    Args:
        run_dir: Folder of the run.
        config: Configuration of the run.
        network: Network from `load_painter`.
        step: Step of its checkpoint.

    Raises:
        UserError: The manifest of the run cannot be read.
    """
    endpoints, metadata = _endpoints(run_dir, config, network, step)
    sample = sample_endpoints(network, metadata, endpoints)
    return SlicePainter({**endpoints.by_name, **sample}, metadata)


def mean_intensity(manifest: Manifest) -> IntensityScale:
    """Return the mean intensity scale of the training images: -1 to 1 in units of the files."""
    scales = [
        mean_scale(entry.intensity)
        for entry in manifest.subjects
        if entry.split == "train" and "image" in entry.streams and entry.intensity
    ]
    return mean_scale(scales)


def _endpoints(
    run_dir: Path,
    config: ExperimentConfig,
    painter: keras.Model,
    step: int,
    labels: tf.DType = tf.int32,
) -> tuple[Endpoints, ModelMetadata]:
    fold_spectral_norms(painter)
    metadata = _metadata(run_dir, config, painter, step)
    volumes, depth_stride = metadata.volumes, None
    if volumes is not None:
        depth_stride = metadata.stride if volumes.networks == "3d" else 1
    size, truncates = (metadata.num_classes, metadata.noise_shape), not metadata.is_diffusion
    endpoints = Endpoints(painter, *size, metadata.stride, labels, depth_stride, truncates)
    return endpoints, metadata


def _more_endpoints(
    endpoints: Endpoints, metadata: ModelMetadata, segmenter: keras.Model | None
) -> dict[str, Callable[..., Any]]:
    found = image_endpoints(endpoints, metadata.has_noise)
    if segmenter is None:
        return found
    segment = segment_endpoint(segmenter, metadata.image_channels, len(metadata.sample_size))
    return {**found, "segment": segment}


def _segmenter(run_dir: Path, choice: CheckpointChoice, config: ExperimentConfig) -> keras.Model:
    found = load_segmenter(run_dir, choice, config)
    if found is None:
        raise UserError(f"{run_dir} has no segmenter: its method trains none. Leave it out.")
    _, segmenter = found
    fold_spectral_norms(segmenter)
    return segmenter


def _static_painter(
    config: ExperimentConfig, painter: keras.Model, options: ExportOptions
) -> StaticPainter:
    size = options.size or config.data.image_size
    shape = painter.noise_shape or (0,)
    return StaticPainter(painter, len(config.data.classes), shape, size, options.labels)


def _write_others(
    static: StaticPainter, folder: Path, options: ExportOptions
) -> list[tuple[str, str]]:
    with literal(folder) as path:
        saved = tf.saved_model.load(str(path)).signatures["from_noise"]
    noise_spec = saved.structured_input_signature[1]["noise"]

    def expected(inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        noise = inputs.get("noise", np.zeros([1, *noise_spec.shape[1:]], np.float32))
        label_map = tf.constant(inputs["label_map"])
        return saved(label_map=label_map, noise=tf.constant(noise))["image"].numpy()

    rows = []
    for wanted in options.others:
        file = write_format(static, wanted, folder, options.precision, expected)
        name = str(file.path.relative_to(folder))
        text = f"{options.precision}, largest {file.largest:.2g}, mean {file.mean:.2g}"
        logger.info("%s: difference from the SavedModel: %s", name, text)
        rows.append((name, text))
    return rows


def _metadata(
    run_dir: Path, config: ExperimentConfig, painter: keras.Model, step: int
) -> ModelMetadata:
    manifest, trained = _read_manifest(run_dir / "manifest.json")
    if manifest.image_size != config.data.image_size:
        raise UserError(
            f"{run_dir} was trained with slices of {list(manifest.image_size)} pixels, but its "
            f"config.yaml has {list(config.data.image_size)} now. Put back the one of the training."
        )
    # The training subjects and their files are nothing that users of the model should know.
    private: dict[str, Any] = {"runs_dir": True, "data": {"root", "cache_dir", "subjects"}}
    return ModelMetadata(
        name=config.name,
        step=step,
        classes=config.data.classes,
        image_size=config.data.image_size,
        spacing_mm=config.data.pixel_spacing_mm,
        axis=config.data.axis,
        stride=painter.stride,
        noise_shape=painter.noise_shape or (0,),
        image_channels=config.data.image_channels,
        intensity=mean_intensity(manifest),
        label_sources=_used_sources(config.data),
        voxel_mm=_median_voxel_mm(manifest),
        config=config.model_dump(mode="json", exclude=private),
        trained=trained,
        exported=provenance(),
    )


def _used_sources(data: DataConfig) -> dict[str, dict[int, str]]:
    """Tables of the label sources that a subject names; all tables if none does."""
    used = {entry.label_source for entry in data.subjects if entry.label_source is not None}
    return {name: ids for name, ids in data.label_sources.items() if name in used or not used}


def _median_voxel_mm(manifest: Manifest) -> tuple[float, float, float] | None:
    sizes = [
        entry.volume_spacing_mm
        for entry in manifest.subjects
        if entry.split == "train" and "label_map" in entry.streams
    ]
    if not sizes:
        return None
    x, y, z = np.median(sizes, axis=0).tolist()
    return x, y, z


def _read_manifest(path: Path) -> tuple[Manifest, dict[str, Any]]:
    # The manifest of a run is the manifest of its shards, and the provenance of the run.
    try:
        values = read_json(path)
        trained = values.pop("provenance", {})
        return Manifest.model_validate(values), trained
    except pydantic.ValidationError as error:
        reason = f"it is no manifest: {problem_lines(error)[0]}"
    except (OSError, ValueError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split())
    raise UserError(f"cannot read {path}: {reason}. Give a run of `medusis train`.")

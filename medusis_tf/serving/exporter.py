"""Export a run as a SavedModel with all metadata that a client needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from medusis_tf.config.data import DataConfig
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.intensities.intensity import IntensityScale, mean_scale
from medusis_tf.data.shards.manifest import Manifest
from medusis_tf.errors import UserError
from medusis_tf.layers.spectral_conv import fold_spectral_norms
from medusis_tf.runs.checkpoints import CheckpointChoice, load_painter
from medusis_tf.runs.run_dir import provenance
from medusis_tf.serving.metadata import ModelMetadata, new_version, write_metadata
from medusis_tf.serving.predictor import SlicePainter
from medusis_tf.serving.signatures import Endpoints, write_saved_model


def export_run(
    run_dir: Path,
    out: Path,
    version: int | None = None,
    choice: CheckpointChoice = CheckpointChoice.NEWEST,
) -> Path:
    """Export the painter of a run.

    Args:
        run_dir: Folder of the run.
        out: Folder of all exported models.
        version: Positive version number; by default the next free one.
        choice: Checkpoint of the run.

    Returns:
        The new folder `out/<name>/<version>`.

    Raises:
        UserError: The folder is no run or has no such checkpoint, the version exists, or the
            model cannot be written.
    """
    config, painter, step = load_painter(run_dir, choice)
    endpoints, metadata = _endpoints(run_dir, config, painter, step)
    try:
        with new_version(out / metadata.name, version) as (folder, target):
            write_saved_model(endpoints, painter, folder)
            write_metadata(metadata, folder)
            write_warmup_requests(folder, metadata.name, metadata.image_size, metadata.noise_shape)
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
    return SlicePainter(vars(endpoints), metadata)


def mean_intensity(manifest: Manifest) -> IntensityScale:
    """Return the mean intensity scale of the training images: -1 to 1 in units of the files."""
    scales = [
        mean_scale(entry.intensity)
        for entry in manifest.subjects
        if entry.split == "train" and "image" in entry.streams and entry.intensity
    ]
    return mean_scale(scales)


def _endpoints(
    run_dir: Path, config: ExperimentConfig, painter: keras.Model, step: int
) -> tuple[Endpoints, ModelMetadata]:
    fold_spectral_norms(painter)
    metadata = _metadata(run_dir, config, painter, step)
    return Endpoints(painter, metadata.num_classes, metadata.noise_shape, metadata.stride), metadata


def _metadata(
    run_dir: Path, config: ExperimentConfig, painter: keras.Model, step: int
) -> ModelMetadata:
    manifest, trained = _read_manifest(run_dir / "manifest.json")
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
        values = json.loads(path.read_text(encoding="utf-8"))
        trained = values.pop("provenance", {})
        return Manifest.model_validate(values), trained
    except (OSError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"cannot read {path}: {reason}. Give a run of `medusis train`.") from None


WARMUP_PATH = Path("assets.extra") / "tf_serving_warmup_requests"


def write_warmup_requests(
    model_folder: Path,
    model_name: str,
    image_size: tuple[int, int],
    noise_shape: tuple[int, ...],
) -> None:
    """Write one request for each endpoint, which TensorFlow Serving sends when it loads the model.

    Args:
        model_folder: Folder of the SavedModel, for `assets.extra/tf_serving_warmup_requests`.
        model_name: Name of the model on the server.
        image_size: `(height, width)` of the label map in the requests.
        noise_shape: Shape of the noise of one image.
    """
    label_map = np.zeros((1, *image_size), np.int32)
    seed, truncation = np.zeros((1, 2), np.int32), np.ones(1, np.float32)
    noise = np.zeros((1, *noise_shape), np.float32)
    requests: dict[str, dict[str, np.ndarray]] = {
        "serving_default": {"label_map": label_map, "seed": seed, "truncation": truncation},
        "from_noise": {"label_map": label_map, "noise": noise},
        "draw_noise": {"seed": seed, "truncation": truncation},
    }
    path = model_folder / WARMUP_PATH
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for endpoint, inputs in requests.items():
            writer.write(_prediction_log(model_name, endpoint, inputs))


def _prediction_log(model_name: str, endpoint: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    model_spec = _field(1, model_name.encode()) + _field(3, endpoint.encode())
    request = _field(1, model_spec)
    for name, value in inputs.items():
        tensor = tf.make_tensor_proto(value).SerializeToString()
        request += _field(2, _field(1, name.encode()) + _field(2, tensor))
    predict_log = _field(1, request)
    return _field(6, predict_log)


def _field(number: int, payload: bytes) -> bytes:
    # 2 is the wire type of bytes, strings and messages: their length, then their content.
    return bytes([number << 3 | 2]) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    return bytes([*encoded, value])

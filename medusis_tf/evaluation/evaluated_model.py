"""What is judged, on which data: a run, an exported model, or a folder of pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medusis_tf.config.data import Split
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.errors import UserError
from medusis_tf.evaluation.painters import Method, model_method
from medusis_tf.methods.experiment import load_config
from medusis_tf.runs.checkpoints import CheckpointChoice

if TYPE_CHECKING:
    from medusis_tf.serving.metadata import ModelMetadata


@dataclass(frozen=True)
class EvaluatedModel:
    """What is judged.

    Attributes:
        method: Paints.
        config: The experiment whose data it is judged on.
        source: Where it was read from.
        step: Of the training; None if that is not known.
        run_dir: The run, if it is one.
        choice: Which checkpoint of the run.
    """

    method: Method
    config: ExperimentConfig
    source: Path
    step: int | None = None
    run_dir: Path | None = None
    choice: CheckpointChoice = CheckpointChoice.NEWEST


def open_run(
    run_dir: Path,
    batch_size: int | None = None,
    choice: CheckpointChoice = CheckpointChoice.NEWEST,
) -> EvaluatedModel:
    """A checkpoint of a run, judged on the run's own data.

    Raises:
        UserError: The folder is no run or has no such checkpoint.
    """
    from medusis_tf.serving.exporter import painter_of_run

    painter = painter_of_run(run_dir, choice)
    method = model_method(painter, painter.metadata.title, batch_size)
    config = load_config(run_dir / "config.yaml")
    return EvaluatedModel(method, config, run_dir, painter.metadata.step, run_dir, choice)


def open_exported(model_dir: Path, data: Path, batch_size: int | None = None) -> EvaluatedModel:
    """An exported model, judged on the data of a configuration.

    Raises:
        UserError: There is no exported model, the configuration is not valid, or its slices are
            not such as the model was trained on.
    """
    config = load_config(data)
    from medusis_tf.serving.predictor import Predictor

    painter = Predictor(model_dir)
    _check_fit(painter.metadata, config, data)
    method = model_method(painter, painter.metadata.title, batch_size)
    return EvaluatedModel(method, config, painter.folder, painter.metadata.step)


def open_images(folder: Path, data: Path, split: Split) -> EvaluatedModel:
    """Pictures in a folder, one volume for each subject of a split of a configuration's data.

    Raises:
        UserError: The configuration is not valid, or a picture is missing or cannot be used.
    """
    from medusis_tf.evaluation.folder_volumes import FolderVolumes

    config = load_config(data)
    volumes = FolderVolumes(folder, "image", config.data, split)
    method = Method(folder.name, "model", lambda subject, _: volumes.slices(subject))
    return EvaluatedModel(method, config, folder)


def _check_fit(metadata: ModelMetadata, config: ExperimentConfig, config_path: Path) -> None:
    theirs = [entry.name for entry in metadata.classes]
    ours = [entry.name for entry in config.data.classes]
    if theirs != ours:
        raise UserError(
            f"{config_path} and the model {metadata.name} have different classes: "
            f"{', '.join(ours)} against {', '.join(theirs)}. Use the model's class table."
        )
    if any(side % metadata.stride for side in config.data.image_size):
        raise UserError(
            f"data.image_size of {config_path} must be divisible by {metadata.stride}, the stride "
            f"of the model {metadata.name}. Received: {list(config.data.image_size)}"
        )
    if metadata.axis != config.data.axis:
        raise UserError(
            f"the model {metadata.name} was trained on {metadata.axis} slices, those of "
            f"{config_path} are {config.data.axis}. Change data.axis."
        )
    if not _same_spacing(metadata.spacing_mm, config.data.pixel_spacing_mm):
        trained, judged = (
            "their own pixels" if spacing is None else f"pixels of {spacing} mm"
            for spacing in (metadata.spacing_mm, config.data.pixel_spacing_mm)
        )
        raise UserError(
            f"the model {metadata.name} was trained on {trained}, the slices of {config_path} have "
            f"{judged}. Change data.image_size or data.field_of_view_mm."
        )


def _same_spacing(a: tuple[float, float] | None, b: tuple[float, float] | None) -> bool:
    if a is None or b is None:
        return a is b
    return all(abs(one - other) <= 1e-3 * one for one, other in zip(a, b, strict=True))

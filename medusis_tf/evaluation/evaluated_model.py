"""The evaluated model and its data: a run, an exported model, or a folder of images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medusis_tf.config.data import DataConfig, Split
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.errors import UserError
from medusis_tf.evaluation.moved_data import located
from medusis_tf.evaluation.painters import Painter, model_painter
from medusis_tf.methods.experiment import load_config
from medusis_tf.runs.checkpoints import CheckpointChoice

if TYPE_CHECKING:
    from medusis_tf.metrics.segmentation import FindClasses
    from medusis_tf.serving.metadata import ModelMetadata


@dataclass(frozen=True)
class EvaluatedModel:
    """A model to evaluate, and the configuration of the data to evaluate it on.

    Attributes:
        painter: Paints the images.
        config: Experiment with the data.
        source: Folder of the run, the exported model or the images.
        step: Training step; None if unknown.
        run_dir: Folder of the run; None if it is not a run.
        segmenter: Segmenter that was trained together with the model; None if there is none.
        path: `network`: images straight from the network. `volumes`: images that went through the
            grid of the volumes and back, which makes them smoother and more similar.
        trained: Data that the model was trained on; None if unknown, as for exported models and
            images.
        slice_mm: Distance between the slices that a model of volumes needs; None for any.
        settings: Settings of the synthesis that differ from those of the run, as `key=value`.
    """

    painter: Painter
    config: ExperimentConfig
    source: Path
    step: int | None = None
    run_dir: Path | None = None
    segmenter: FindClasses | None = None
    path: Literal["network", "volumes"] = "network"
    trained: DataConfig | None = None
    slice_mm: float | None = None
    settings: tuple[str, ...] = ()


def open_run(
    run_dir: Path,
    batch_size: int | None = None,
    choice: CheckpointChoice = CheckpointChoice.NEWEST,
    data: Path | None = None,
    overrides: Sequence[str] = (),
) -> EvaluatedModel:
    """Open a checkpoint of a run, to evaluate it on the data of the run or of a configuration.

    Args:
        run_dir: Folder of the run.
        batch_size: Slices painted at once; see `SlicePainter.paint`.
        choice: Checkpoint of the run.
        data: YAML file of a configuration with other data; None for the data of the run.
        overrides: Changes to the settings of the data, such as `data.root=FOLDER`, and of the
            synthesis, such as `sampler.steps=12`.

    Raises:
        UserError: The folder is no run, has no such checkpoint, or its model does not fit the data.
    """
    from medusis_tf.evaluation.segmenters import own_segmenter
    from medusis_tf.runs.checkpoints import config_of_run, load_painter
    from medusis_tf.serving.exporter import painter_of_network

    sections = config_of_run(run_dir).synthesis_sections
    of_synthesis = [each for each in overrides if each.partition(".")[0] in sections]
    overrides = [each for each in overrides if each not in of_synthesis]
    config, network, step = load_painter(run_dir, choice, of_synthesis)
    model = painter_of_network(run_dir, config, network, step)
    segmenter = own_segmenter(run_dir, choice, config)
    painter, trained = model_painter(model, batch_size), config.data
    if of_synthesis:
        painter = dataclasses.replace(painter, name=f"{painter.name}, {', '.join(of_synthesis)}")
    config = located(config, run_dir, overrides) if data is None else _data(data, overrides)
    if data is not None or overrides:
        _check_fit(model.metadata, config, data or run_dir / "config.yaml")
    slice_mm = model.metadata.slice_mm if model.metadata.volumes else None
    return EvaluatedModel(
        painter,
        config,
        run_dir,
        step,
        run_dir,
        segmenter,
        trained=trained,
        slice_mm=slice_mm,
        settings=tuple(of_synthesis),
    )


def open_exported(
    model_dir: Path,
    data: Path,
    batch_size: int | None = None,
    overrides: Sequence[str] = (),
) -> EvaluatedModel:
    """Open an exported model, to evaluate it on the data of a configuration.

    Args:
        model_dir: Folder of the exported model.
        data: YAML file of the configuration.
        batch_size: Slices painted at once; see `SlicePainter.paint`.
        overrides: Changes to the configuration.

    Raises:
        UserError: There is no exported model, the configuration is invalid, or its slices do not
            fit the model.
    """
    config = _data(data, overrides)
    from medusis_tf.serving.predictor import Predictor

    model = Predictor(model_dir)
    _check_fit(model.metadata, config, data)
    painter = model_painter(model, batch_size)
    slice_mm = model.metadata.slice_mm if model.metadata.volumes else None
    return EvaluatedModel(painter, config, model.folder, model.metadata.step, slice_mm=slice_mm)


def open_images(
    folder: Path, data: Path, split: Split, overrides: Sequence[str] = ()
) -> EvaluatedModel:
    """Open a folder of images, one volume for each subject of a split of a configuration's data.

    Args:
        folder: Folder of the images.
        data: YAML file of the configuration.
        split: Split of the subjects.
        overrides: Changes to the configuration.

    Raises:
        UserError: The configuration is invalid, or an image is missing or cannot be used.
    """
    from medusis_tf.evaluation.folder_volumes import FolderVolumes

    config = _data(data, overrides)
    volumes = FolderVolumes(folder, "image", config.data, split)
    painter = Painter(folder.name, "model", lambda subject, _: volumes.slices(subject))
    return EvaluatedModel(painter, config, folder, path="volumes")


def _data(path: Path, overrides: Sequence[str]) -> ExperimentConfig:
    """The configuration of the data, whose settings of the synthesis are not the model's."""
    config = load_config(path, overrides)
    for override in overrides:
        if override.partition(".")[0] in config.synthesis_sections:
            raise UserError(
                f"{override!r} is no setting of the data, and can be changed only for runs of a "
                f"method that has it. {path} tells where the data are"
            )
    return config


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
            f"the model {metadata.name} was trained on {metadata.axis} slices, the slices of "
            f"{config_path} are {config.data.axis}. Change data.axis."
        )
    if not _same_spacing(metadata.spacing_mm, config.data.pixel_spacing_mm):
        trained, given = (
            "the volumes' own pixels" if spacing is None else f"pixels of {spacing} mm"
            for spacing in (metadata.spacing_mm, config.data.pixel_spacing_mm)
        )
        raise UserError(
            f"the model {metadata.name} was trained on {trained}, the slices of {config_path} have "
            f"{given}. Change data.image_size or data.field_of_view_mm."
        )


def _same_spacing(a: tuple[float, float] | None, b: tuple[float, float] | None) -> bool:
    if a is None or b is None:
        return a is b
    return all(abs(one - other) <= 1e-3 * one for one, other in zip(a, b, strict=True))

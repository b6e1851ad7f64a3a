"""The functions of the Python interface: `import medusis_tf as mt`."""

from __future__ import annotations

import logging
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from medusis_tf.errors import UserError

if TYPE_CHECKING:
    import nibabel
    from nibabel.spatialimages import SpatialImage

    from medusis_tf.config.experiment import ExperimentConfig
    from medusis_tf.data.shards.shards import Shards
    from medusis_tf.data.volumes.volume import Volume
    from medusis_tf.runs.checkpoints import CheckpointChoice
    from medusis_tf.serving.label_maps import LabelMapOptions
    from medusis_tf.serving.metadata import ModelMetadata
    from medusis_tf.serving.predictor import Predictor, SlicePainter
    from medusis_tf.serving.sampling import SamplingChoice

logger = logging.getLogger(__name__)

PathLike = str | os.PathLike[str]


def open_data(config: ExperimentConfig) -> Shards:
    """Open the prepared slices of an experiment; prepare them first if they do not exist.

    Args:
        config: From `load_config`.

    Raises:
        UserError: Volumes are missing or invalid. The message lists the problems of all subjects.
    """
    from medusis_tf.data.preparing.preparation import prepare_shards

    return prepare_shards(config, jobs=1)


def open_run(run_dir: PathLike, checkpoint: str = "newest") -> SlicePainter:
    """Open a run as a model that paints, without exporting it.

    Args:
        run_dir: Folder of the run, such as `runs/quickstart`.
        checkpoint: `newest`, or `best` for the best one on the validation patients.

    Raises:
        UserError: The folder is no run, or has no such checkpoint.
    """
    from medusis_tf.serving.exporter import painter_of_run

    return painter_of_run(Path(run_dir), _checkpoint(checkpoint))


def open_model(model_dir: PathLike) -> Predictor:
    """Open an exported model. A SavedModel is a program: open only models that you trust.

    Args:
        model_dir: `saved_models/NAME`, of which the newest version is taken, or
            `saved_models/NAME/VERSION`.

    Raises:
        UserError: There is no exported model, or it cannot be loaded.
    """
    from medusis_tf.serving.predictor import Predictor

    return Predictor(Path(model_dir))


def export_run(
    run_dir: PathLike, out: PathLike = "saved_models", checkpoint: str = "newest"
) -> Path:
    """Export a run as a SavedModel.

    Args:
        run_dir: Folder of the run.
        out: Folder of all exported models.
        checkpoint: `newest` or `best`.

    Returns:
        The new folder `out/NAME/VERSION`.

    Raises:
        UserError: The run cannot be read, or the model cannot be written.
    """
    from medusis_tf.serving.exporter import export_run as export

    return export(Path(run_dir), Path(out), choice=_checkpoint(checkpoint))


@overload
def synthesize(
    model: SlicePainter,
    label_map: np.ndarray,
    seed: int = 0,
    truncation: float = math.inf,
    *,
    label_source: str | None = None,
    unlisted: str | None = None,
    assume_axes: str | None = None,
    ct: None = None,
    sampling: SamplingChoice | None = None,
) -> np.ndarray: ...


@overload
def synthesize(
    model: SlicePainter,
    label_map: PathLike | SpatialImage | None,
    seed: int = 0,
    truncation: float = math.inf,
    *,
    label_source: str | None = None,
    unlisted: str | None = None,
    assume_axes: str | None = None,
    ct: PathLike | None = None,
    sampling: SamplingChoice | None = None,
) -> nibabel.Nifti1Image: ...


def synthesize(
    model: SlicePainter,
    label_map: np.ndarray | PathLike | SpatialImage | None,
    seed: int = 0,
    truncation: float = math.inf,
    *,
    label_source: str | None = None,
    unlisted: str | None = None,
    assume_axes: str | None = None,
    ct: PathLike | None = None,
    sampling: SamplingChoice | None = None,
) -> np.ndarray | nibabel.Nifti1Image:
    """Synthesize an image for a label map, with the noise of one seed.

    Args:
        model: From `open_model` or `open_run`.
        label_map: A volume of any format, grid and orientation, a folder of one-class masks, or a
            nibabel image; or class ids of the model as an array `[height, width]` or
            `[slices, height, width]` with the pixel spacing of the training slices
            (`model.metadata.spacing_mm`) and sides divisible by `model.metadata.stride`. None to
            make the label map of a model of tissues from `ct`.
        seed: Seed of the noise; the same seed gives the same image.
        truncation: Bound of the noise: a >= 0, drawn from N(0, 1) conditioned on [-a, a]. 0 gives
            the image of zero noise.
        label_source: Meaning of the ids of a file or image: the name of a label source of the
            training, a packaged table, a file, or `model` for the ids of the model. By default it
            is found out.
        unlisted: Class of all ids and names without a class.
        assume_axes: Axes of a file or image whose header has no orientation, such as `RAS`.
        ct: CT that cuts the finer classes of the model from a coarse label map, a volume of any
            format.
        sampling: Steps, start level and guidance of a diffusion model, from
            `medusis_tf.serving.sampling`; None for those of the model.

    Returns:
        For a file, image or CT, an image on the same grid, in the mean units of the training
        images. For an array, an array of the same shape, float32 in [-1, 1].

    Raises:
        UserError: The label map cannot be read, has no foreground, contains ids that the model
            does not know; a file or image lacks its finer classes without a CT (an array, which
            may be one slice, is only a warning); or the CT cannot be used.
    """
    _check_noise(seed, truncation)
    if sampling is not None:
        model = model.with_sampling(sampling)
    if isinstance(label_map, np.ndarray):
        if ct is not None:
            raise UserError("ct belongs to a file or image, not to an array of slices.")
        return _synthesize_slices(model, label_map, seed, truncation)
    from medusis_tf.serving.label_maps import LabelMapOptions

    reading = {} if assume_axes is None else {"assume_axes": assume_axes}
    options = LabelMapOptions(label_source, unlisted, reading)
    try:
        volume = _volume(model.metadata, label_map, ct, options)
    except UserError as error:
        raise UserError(_in_python(str(error))) from None
    return _synthesize_volume(model, volume, seed, truncation)


def _synthesize_slices(
    model: SlicePainter, label_map: np.ndarray, seed: int, truncation: float
) -> np.ndarray:
    if label_map.ndim not in (2, 3) or label_map.size == 0:
        raise UserError(
            "label_map must be [height, width] or [slices, height, width], and not empty. "
            f"Received: shape {label_map.shape}"
        )
    ids = np.unique(label_map)
    known = len(model.metadata.classes)
    if not np.issubdtype(ids.dtype, np.integer) or ids[0] < 0 or ids[-1] >= known:
        raise UserError(
            f"label_map must contain integers from 0 to {known - 1}, the class ids of "
            f"{model.metadata.name}. Received: {label_map.dtype} from {ids[0]} to {ids[-1]}"
        )
    refined = model.metadata.taxonomy.refined
    if refined and not np.isin([entry.id for entry in refined], ids).any():
        logger.warning(
            "label_map has none of the finer classes that %s was trained on (%s): the image may be "
            "wrong. Give a file with its ct",
            model.metadata.title,
            ", ".join(entry.name for entry in refined[:5]),
        )
    stride = model.metadata.stride
    if any(side % stride for side in label_map.shape[-2:]):
        raise UserError(
            f"height and width of label_map must be divisible by {stride}. "
            f"Received: shape {label_map.shape}"
        )
    slices = label_map.reshape(-1, *label_map.shape[-2:])
    images = model.paint(slices, model.draw_noise(seed, truncation))
    return images.reshape(label_map.shape)


def _volume(
    metadata: ModelMetadata,
    label_map: PathLike | SpatialImage | None,
    ct: PathLike | None,
    options: LabelMapOptions,
) -> Volume:
    """The label map to paint, with finer classes; what is suspicious of it is logged."""
    import nibabel

    from medusis_tf.data.volumes.nibabel_formats import open_image
    from medusis_tf.serving.finer_label_map import fine_label_map
    from medusis_tf.serving.grids import grid_lines
    from medusis_tf.serving.label_maps import in_classes, read_for_model
    from medusis_tf.serving.label_names import names_of_image

    if not isinstance(ct, str | os.PathLike | None):
        raise UserError(f"ct must be the path of a CT. Received: {type(ct).__name__}")
    reading, coarse = options.reading_of(metadata), None
    if isinstance(label_map, nibabel.Nifti1Pair | nibabel.AnalyzeImage | nibabel.MGHImage):
        coarse = open_image(label_map, reading).label_map(reading)
        coarse = in_classes(coarse, metadata, options, names_of_image(label_map))
    elif isinstance(label_map, str | os.PathLike):
        coarse = read_for_model(Path(label_map), metadata, options)
    elif label_map is not None or ct is None:
        raise UserError(
            "label_map must be a path, an array, or a NIfTI, Analyze or MGH image of nibabel. "
            f"Received: {type(label_map).__name__}"
        )
    volume = fine_label_map(coarse, None if ct is None else Path(ct), metadata, reading=reading)
    for line in (*volume.warnings, *grid_lines(volume, metadata)):
        logger.warning("%s: %s", volume.path, _in_python(line))
    return volume


def _synthesize_volume(
    model: SlicePainter, volume: Volume, seed: int, truncation: float
) -> nibabel.Nifti1Image:
    import nibabel

    from medusis_tf.data.volumes.volume import affine_in_order, from_lps

    stored = affine_in_order(volume.axes, volume.shape, volume.affine)
    image = from_lps(model.synthesize_volume(volume, seed, truncation), stored)
    return nibabel.Nifti1Image(image, stored)


def _in_python(message: str) -> str:
    """A message with the arguments of `synthesize` in place of options of the command."""
    for option, argument in (("--label-source ", "label_source="), ("--unlisted C", "unlisted=C")):
        message = message.replace(option, argument)
    message = re.sub(r"--(ct|label-source|unlisted)\b", lambda m: m[1].replace("-", "_"), message)
    return message.replace("data.reading.assume_axes", "assume_axes")


def _checkpoint(name: str) -> CheckpointChoice:
    from medusis_tf.runs.checkpoints import CheckpointChoice

    choices = [choice.value for choice in CheckpointChoice]
    if name not in choices:
        raise UserError(f"checkpoint must be one of {', '.join(choices)}. Received: {name!r}")
    return CheckpointChoice(name)


def _check_noise(seed: int, truncation: float) -> None:
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**31:
        raise UserError(f"seed must be an integer from 0 to 2**31 - 1. Received: {seed!r}")
    if not isinstance(truncation, int | float) or not truncation >= 0:
        raise UserError(f"truncation must be 0 or more (inf for none). Received: {truncation!r}")

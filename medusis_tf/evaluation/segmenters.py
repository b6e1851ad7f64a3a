"""Segmenters that find the classes in synthetic images.

The run's own segmenter was trained together with the generator and recognizes whatever code the two
agreed on. Its results are optimistic, and are labelled so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from medusis_tf.config.data import Split
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.batches.inference import INFERENCE_BATCH_SIZE, batches_of
from medusis_tf.data.batches.tiles import Tiles, without_gaps
from medusis_tf.data.shards.labelled_subjects import LabelledSubject
from medusis_tf.data.slicing.slices import OUTSIDE_IMAGE
from medusis_tf.errors import UserError
from medusis_tf.evaluation.folder_volumes import FolderVolumes
from medusis_tf.evaluation.mask_ids import MaskIds
from medusis_tf.files import literal
from medusis_tf.methods.med_usis.config import require_med_usis
from medusis_tf.metrics.independent_segmenter import SUFFIX, IndependentSegmenter, class_finder
from medusis_tf.metrics.segmentation import CoarseSegmenter, FindClasses
from medusis_tf.runs.checkpoints import CheckpointChoice

# Names in tables and in metrics.json.
OWN = "own segmenter (optimistic)"
INDEPENDENT = "independent segmenter"
EXTERNAL = "external segmenter"
FOLDER = "masks from a folder"


def own_segmenter(
    run_dir: Path,
    choice: CheckpointChoice = CheckpointChoice.NEWEST,
    config: ExperimentConfig | None = None,
) -> FindClasses | None:
    """Open the segmenter that was trained together with the model of a run.

    Args:
        run_dir: Folder of the run.
        choice: Checkpoint of the run.
        config: Configuration of the run; read from the run if it is None.

    Returns:
        None if the run's method trains no segmenter.

    Raises:
        UserError: The folder is no run, or has no such checkpoint.
    """
    from medusis_tf.layers.spectral_conv import fold_spectral_norms
    from medusis_tf.runs.checkpoints import load_segmenter

    found = load_segmenter(run_dir, choice, config)
    if found is None:
        return None
    own, segmenter = found
    fold_spectral_norms(segmenter)
    channels = own.data.image_channels
    if own.volumes is None or own.volumes.networks == "2.5d":
        find = class_finder(segmenter if own.volumes is None else segmenter.network, channels)
        return lambda _, images: find(images)
    tiles = Tiles.of(own.volumes, require_med_usis(own).segmenter.stride)

    def read_volume(subject: LabelledSubject, images: np.ndarray) -> np.ndarray:
        def logits(tile: np.ndarray, _: int) -> np.ndarray:
            volume = np.repeat(tile[np.newaxis, ..., np.newaxis], channels, axis=-1)
            return segmenter(volume.astype(np.float32), training=False)[0, ..., 1:].numpy()

        volume, places = without_gaps(images, subject.slice_indices, OUTSIDE_IMAGE)
        return tiles.apply(logits, volume)[places].argmax(axis=-1).astype(np.uint8)

    return read_volume


def open_segmenter(path: Path, config: ExperimentConfig) -> tuple[str, FindClasses]:
    """Open weights of `medusis train-segmenter`, or a SavedModel.

    Args:
        path: `NAME.weights.h5`, or the folder of a SavedModel.
        config: Experiment whose classes and slices the segmenter must fit.

    Returns:
        Name in tables, and the segmenter. It may find the coarse classes of finer ones only.

    Raises:
        UserError: The segmenter cannot be opened, or does not fit.
    """
    if path.is_dir():
        return EXTERNAL, ExternalSegmenter(path, config.data.num_classes, config.data.image_size)
    if not path.name.endswith(SUFFIX):
        raise UserError(
            f"--segmenter must be NAME{SUFFIX} of medusis train-segmenter, or the folder of a "
            f"SavedModel. Received: {path}"
        )
    segmenter = IndependentSegmenter.open(path)
    is_coarse = segmenter.check_fit(config.data)

    def find_classes(_: LabelledSubject, images: np.ndarray) -> np.ndarray:
        return segmenter.read_classes(images)

    return INDEPENDENT, CoarseSegmenter(find_classes) if is_coarse else find_classes


def masks_of_folder(
    folder: Path, config: ExperimentConfig, split: Split, ids: MaskIds | None = None
) -> FindClasses:
    """Open masks that another tool found in the images: `SUBJECT.nii.gz`, or folders `SUBJECT`.

    Args:
        folder: Folder of the masks.
        config: Experiment with the data.
        split: Split of the subjects.
        ids: Meaning of the ids; None for the class ids of the experiment.

    Raises:
        UserError: A mask is missing or cannot be used.
    """
    masks = FolderVolumes(folder, "label_map", config.data, split, ids or MaskIds())
    return lambda subject, _: masks.slices(subject)


SIGNATURE = "serving_default"
# Errors of TensorFlow for a graph that cannot be loaded or run on its inputs.
_FAILURES = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError)


class ExternalSegmenter:
    """Finds the classes in images with the signature `serving_default` of a SavedModel.

    The signature has one input of images in [-1, 1]: `[N, H, W, 1]`, `[N, H, W, 3]` (three equal
    channels) or `[N, H, W]`. It has one output: scores `[N, H, W, K]`, of which the largest counts,
    or integer class ids `[N, H, W]` or `[N, H, W, 1]`.

    A SavedModel is a program. Load only models that you trust.

    Args:
        folder: Folder with `saved_model.pb`.
        num_classes: K, background included.
        image_size: Height and width of the slices; the model is tested on a black slice.

    Raises:
        UserError: The model cannot be loaded, or has other inputs or outputs.
    """

    def __init__(self, folder: Path, num_classes: int, image_size: tuple[int, int]):
        self._folder, self._num_classes = folder, num_classes
        # A signature alone does not keep its variables alive.
        self._model = _load(folder)
        self._serve = self._model.signatures[SIGNATURE]
        inputs = self._serve.structured_input_signature[1]
        if len(inputs) != 1:
            raise self._misfit("one input", f"inputs {', '.join(sorted(inputs)) or 'none'}")
        [(self._input, self._spec)] = inputs.items()
        self.read_classes(np.full((1, *image_size), OUTSIDE_IMAGE, np.float32))

    def __call__(self, _: LabelledSubject, images: np.ndarray) -> np.ndarray:
        """Class ids in a subject's images, in their shape."""
        return self.read_classes(images)

    def read_classes(self, images: np.ndarray) -> np.ndarray:
        """The most likely class of each pixel.

        Args:
            images: `[slices, height, width]` in [-1, 1].

        Returns:
            Same shape, uint8 class ids.

        Raises:
            UserError: The model fails, or has another output.
        """
        found = np.empty(images.shape, np.uint8)
        fixed = self._spec.shape[0] if self._spec.shape.rank else None
        for part in batches_of(len(images), fixed or INFERENCE_BATCH_SIZE):
            batch = images[part]
            count = len(batch)
            if fixed is not None:  # the last image fills the batch
                batch = batch[np.minimum(np.arange(fixed), count - 1)]
            found[part] = self._classes(self._answer(batch), batch.shape)[:count]
        return found

    def _answer(self, batch: np.ndarray) -> np.ndarray:
        """The output of the model for images `[N, height, width]`."""
        shape = self._spec.shape
        if shape.rank != 3:
            channels = 3 if shape.rank == 4 and shape[3] == 3 else 1
            batch = np.repeat(batch[..., np.newaxis], channels, axis=-1)
        # TensorFlow often runs a graph on shapes other than the declared ones.
        if not shape.is_compatible_with(batch.shape):
            raise self._misfit(f"an input for images {list(batch.shape)}", f"{shape}")
        try:
            answers = self._serve(**{self._input: tf.cast(batch, self._spec.dtype)})
            found = {name: _as_numpy(value) for name, value in answers.items()}
        except (*_FAILURES, tf.errors.OpError) as error:
            raise self._misfit(
                f"an input for images {list(batch.shape)}", f"{shape}, and {_line(error)}"
            ) from None
        if len(found) != 1:
            raise self._misfit("one output", f"outputs {', '.join(sorted(found)) or 'none'}")
        return next(iter(found.values()))

    def _classes(self, answer: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        if answer.shape == (*shape, self._num_classes):
            if not np.isfinite(answer).all():
                raise self._misfit("finite scores", "NaN or infinity")
            return answer.argmax(axis=-1)
        if answer.dtype.kind not in "iu" or answer.shape not in (shape, (*shape, 1)):
            raise self._misfit(
                f"an output [N, H, W, {self._num_classes}], a score for each class, or integer "
                "class ids [N, H, W]",
                f"{answer.dtype} {list(answer.shape)} for {shape[0]} images of "
                f"{shape[1]}x{shape[2]} pixels",
            )
        if answer.min() < 0 or answer.max() >= self._num_classes:
            raise self._misfit(
                f"class ids 0 to {self._num_classes - 1}", f"{answer.min()} to {answer.max()}"
            )
        return answer.reshape(shape)

    def _misfit(self, wanted: str, received: str) -> UserError:
        return UserError(
            f"the segmenter {self._folder} must have {wanted} in its signature {SIGNATURE}. "
            f"Received: {received}. docs/evaluation.md describes inputs and outputs."
        )


def _load(folder: Path) -> Any:
    try:
        with literal(folder) as path:
            model = tf.saved_model.load(str(path))
        model.signatures[SIGNATURE]
    except Exception as error:  # errors of protobuf, TensorFlow and missing operations
        raise UserError(
            f"{folder} cannot be loaded as a SavedModel with a signature {SIGNATURE}: "
            f"{_line(error)}."
        ) from None
    return model


def _as_numpy(value: Any) -> np.ndarray:
    # NumPy has no bfloat16, and float16 is slow.
    return (tf.cast(value, tf.float32) if value.dtype.is_floating else value).numpy()


def _line(error: BaseException) -> str:
    lines = str(getattr(error, "message", None) or error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(". ")

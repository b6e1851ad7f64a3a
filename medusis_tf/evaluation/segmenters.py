"""Who reads the classes in pictures: one or several of these.

The run's own segmenter learned together with the generator, and reads whatever code the two agreed
on: its figures are optimistic, and are called so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from medusis_tf.config.data import Split
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.shards.labelled_subjects import LabelledSubject
from medusis_tf.data.slicing.slices import OUTSIDE_IMAGE
from medusis_tf.errors import UserError
from medusis_tf.evaluation.folder_volumes import FolderVolumes
from medusis_tf.metrics.independent_segmenter import SUFFIX, IndependentSegmenter
from medusis_tf.metrics.segmentation import FindClasses
from medusis_tf.runs.checkpoints import CheckpointChoice

OWN = "own segmenter (optimistic)"
INDEPENDENT = "independent segmenter"
EXTERNAL = "external segmenter"
FOLDER = "masks from a folder"

_BATCH_SIZE = 8


def own_segmenter(
    run_dir: Path, choice: CheckpointChoice = CheckpointChoice.NEWEST
) -> FindClasses | None:
    """The segmenter of a run's checkpoint; logit 0, the synthetic class, is dropped.

    None if the run's method trains no segmenter.

    Raises:
        UserError: The folder is no run or has no such checkpoint.
    """
    from medusis_tf.runs.checkpoints import load_segmenter

    found = load_segmenter(run_dir, choice)
    if found is None:
        return None
    config, segmenter = found
    channels = config.data.image_channels

    def find(_: LabelledSubject, pictures: np.ndarray) -> np.ndarray:
        found = np.empty(pictures.shape, np.uint8)
        for start in range(0, len(pictures), _BATCH_SIZE):
            batch = pictures[start : start + _BATCH_SIZE, ..., np.newaxis].astype(np.float32)
            logits = np.asarray(segmenter(np.repeat(batch, channels, axis=-1), training=False))
            found[start : start + len(batch)] = logits[..., 1:].argmax(axis=-1)
        return found

    return find


def open_segmenter(path: Path, config: ExperimentConfig) -> tuple[str, FindClasses]:
    """What `--segmenter` names: weights of `medusis train-segmenter`, or a SavedModel.

    Args:
        path: `NAME.weights.h5`, or the folder of a SavedModel.
        config: Whose classes and slices it has to fit.

    Returns:
        What it is called in tables, and the reader.

    Raises:
        UserError: It cannot be opened, or does not fit.
    """
    if path.is_dir():
        return EXTERNAL, ExternalSegmenter(path, config.data.num_classes, config.data.image_size)
    if not path.name.endswith(SUFFIX):
        raise UserError(
            f"--segmenter is NAME{SUFFIX} of medusis train-segmenter, or the folder of a "
            f"SavedModel. Received: {path}"
        )
    segmenter = IndependentSegmenter.open(path)
    segmenter.check_fit(config.data)
    return INDEPENDENT, lambda _, pictures: segmenter.read_classes(pictures)


def masks_of_folder(folder: Path, config: ExperimentConfig, split: Split) -> FindClasses:
    """Masks that another tool made of the pictures, as `SUBJECT.nii.gz` in the class ids.

    Raises:
        UserError: One is missing or cannot be used.
    """
    masks = FolderVolumes(folder, "label_map", config.data, split)
    return lambda subject, _: masks.slices(subject)


SIGNATURE = "serving_default"
_EXTERNAL_BATCH_SIZE = 8
# What TensorFlow raises for a graph that cannot be loaded, or not be run on what it is given.
_FAILURES = (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError)


class ExternalSegmenter:
    """Reads the classes in pictures with the signature `serving_default` of a SavedModel.

    Its one input takes `[N, H, W, 1]`, `[N, H, W, 3]` (three times the same) or `[N, H, W]`
    pictures in [-1, 1]; its one output gives `[N, H, W, K]` scores, of which the greatest counts,
    or integer class ids `[N, H, W]` or `[N, H, W, 1]`.

    A SavedModel is a program: load only those whose origin you trust.

    Args:
        folder: Holds `saved_model.pb`.
        num_classes: K, background included.
        image_size: Height and width of the slices; it is tried on a black one.

    Raises:
        UserError: It cannot be loaded, or has other inputs or outputs.
    """

    def __init__(self, folder: Path, num_classes: int, image_size: tuple[int, int]):
        self._folder, self._num_classes = folder, num_classes
        # Kept: a signature alone does not keep the variables it reads alive.
        self._model = _load(folder)
        self._serve = self._model.signatures[SIGNATURE]
        inputs = self._serve.structured_input_signature[1]
        if len(inputs) != 1:
            raise self._misfit("one input", f"inputs {', '.join(sorted(inputs)) or 'none'}")
        [(self._input, self._spec)] = inputs.items()
        self.read_classes(np.full((1, *image_size), OUTSIDE_IMAGE, np.float32))

    def __call__(self, _: LabelledSubject, pictures: np.ndarray) -> np.ndarray:
        """Class ids of a subject's pictures, of their shape."""
        return self.read_classes(pictures)

    def read_classes(self, pictures: np.ndarray) -> np.ndarray:
        """The most likely class of every pixel.

        Args:
            pictures: `[slices, height, width]` in [-1, 1].

        Returns:
            Same shape, uint8 class ids.

        Raises:
            UserError: The model fails, or answers something else.
        """
        found = np.empty(pictures.shape, np.uint8)
        fixed = self._spec.shape[0] if self._spec.shape.rank else None
        for start in range(0, len(pictures), fixed or _EXTERNAL_BATCH_SIZE):
            batch = pictures[start : start + (fixed or _EXTERNAL_BATCH_SIZE)]
            count = len(batch)
            if fixed is not None:  # the last picture fills the batch
                batch = batch[np.minimum(np.arange(fixed), count - 1)]
            found[start : start + count] = self._classes(self._answer(batch), batch.shape)[:count]
        return found

    def _answer(self, batch: np.ndarray) -> np.ndarray:
        """What the model gives for `[N, height, width]`."""
        shape = self._spec.shape
        if shape.rank != 3:
            channels = 3 if shape.rank == 4 and shape[3] == 3 else 1
            batch = np.repeat(batch[..., np.newaxis], channels, axis=-1)
        # TensorFlow runs many a graph on other shapes than it declares.
        if not shape.is_compatible_with(batch.shape):
            raise self._misfit(f"an input for pictures {list(batch.shape)}", f"{shape}")
        try:
            answers = self._serve(**{self._input: tf.cast(batch, self._spec.dtype)})
            found = {name: _as_numpy(value) for name, value in answers.items()}
        except (*_FAILURES, tf.errors.OpError) as error:
            raise self._misfit(
                f"an input for pictures {list(batch.shape)}", f"{shape}, and {_line(error)}"
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
                f"{answer.dtype} {list(answer.shape)} for {shape[0]} pictures of "
                f"{shape[1]}x{shape[2]} pixels",
            )
        if answer.min() < 0 or answer.max() >= self._num_classes:
            raise self._misfit(
                f"class ids 0 to {self._num_classes - 1}", f"{answer.min()} to {answer.max()}"
            )
        return answer.reshape(shape)

    def _misfit(self, wanted: str, received: str) -> UserError:
        return UserError(
            f"the segmenter {self._folder} must have {wanted}, in its signature {SIGNATURE}. "
            f"Received: {received}. docs/evaluation.md says what it is given and must answer."
        )


def _load(folder: Path) -> Any:
    try:
        model = tf.saved_model.load(str(folder))
        model.signatures[SIGNATURE]
    except Exception as error:  # whatever protobuf, TensorFlow and missing operations raise
        raise UserError(
            f"{folder} cannot be loaded as a SavedModel with a signature {SIGNATURE}: "
            f"{_line(error)}."
        ) from None
    return model


def _as_numpy(value: Any) -> np.ndarray:
    # NumPy knows no bfloat16, and float16 is slow in it.
    return (tf.cast(value, tf.float32) if value.dtype.is_floating else value).numpy()


def _line(error: BaseException) -> str:
    lines = str(getattr(error, "message", None) or error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(". ")

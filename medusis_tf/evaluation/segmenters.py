"""Who reads the classes in pictures: one or several of these.

The run's own segmenter learned together with the generator, and reads whatever code the two agreed
on: its figures are optimistic, and are called so.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medusis_tf.config.data import Split
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.errors import UserError
from medusis_tf.evaluation.folder_volumes import FolderVolumes
from medusis_tf.evaluation.judged_subject import JudgedSubject
from medusis_tf.evaluation.measures.segmentation import FindClasses
from medusis_tf.metrics.independent_segmenter import SUFFIX, IndependentSegmenter

OWN = "own segmenter (optimistic)"
INDEPENDENT = "independent segmenter"
EXTERNAL = "external segmenter"
FOLDER = "masks from a folder"

_BATCH_SIZE = 8


def own_segmenter(run_dir: Path) -> FindClasses:
    """The segmenter of a run's newest checkpoint; logit 0, the synthetic class, is dropped.

    Raises:
        UserError: The folder is no run or has no checkpoint.
    """
    from medusis_tf.training.checkpoints import load_segmenter

    config, segmenter = load_segmenter(run_dir)
    channels = config.data.image_channels

    def logits(batch: np.ndarray) -> np.ndarray:
        return np.asarray(segmenter(np.repeat(batch, channels, axis=-1)))[..., 1:]

    return _reader(logits)


def open_segmenter(path: Path, config: ExperimentConfig) -> tuple[str, FindClasses]:
    """What `--segmenter` names: weights of `pipelines.train_segmenter`, or a SavedModel.

    Args:
        path: `NAME.weights.h5`, or the folder of a SavedModel.
        config: Whose classes and slices it has to fit.

    Returns:
        What it is called in tables, and the reader.

    Raises:
        UserError: It cannot be opened, or does not fit.
    """
    if path.is_dir():
        return EXTERNAL, _saved_model(path, config.data.num_classes)
    if not path.name.endswith(SUFFIX):
        raise UserError(
            f"--segmenter is NAME{SUFFIX} of pipelines.train_segmenter, or the folder of a "
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


def _saved_model(folder: Path, num_classes: int) -> FindClasses:
    import tensorflow as tf

    try:
        model = tf.saved_model.load(str(folder))
        serve = model.signatures["serving_default"]
    except (OSError, ValueError, KeyError, AttributeError, tf.errors.OpError) as error:
        raise UserError(
            f"{folder} cannot be loaded as a SavedModel with a signature serving_default: {error}."
        ) from None
    [(name, _)] = serve.structured_input_signature[1].items()

    def logits(batch: np.ndarray) -> np.ndarray:
        answer: Mapping[str, Any] = serve(**{name: tf.constant(batch)})
        [scores] = (value.numpy() for value in answer.values())
        if scores.ndim != 4 or scores.shape[-1] != num_classes:
            raise UserError(
                f"the segmenter {folder} must answer [slices, height, width, {num_classes}], a "
                f"score for each class. Received: {scores.shape}"
            )
        return scores

    return _reader(logits)


def _reader(logits) -> FindClasses:
    def find(_: JudgedSubject, pictures: np.ndarray) -> np.ndarray:
        found = np.empty(pictures.shape, np.uint8)
        for start in range(0, len(pictures), _BATCH_SIZE):
            batch = pictures[start : start + _BATCH_SIZE, ..., np.newaxis].astype(np.float32)
            found[start : start + len(batch)] = logits(batch).argmax(axis=-1)
        return found

    return find

"""Who reads the classes in pictures: one or several of these.

The run's own segmenter learned together with the generator, and reads whatever code the two agreed
on: its figures are optimistic, and are called so.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from medusis_tf.config.data import Split
from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.errors import UserError
from medusis_tf.evaluation.folder_volumes import FolderVolumes
from medusis_tf.evaluation.judged_subject import JudgedSubject
from medusis_tf.evaluation.measures.segmentation import FindClasses
from medusis_tf.metrics.independent_segmenter import SUFFIX, IndependentSegmenter
from medusis_tf.training.checkpoint_choice import CheckpointChoice

OWN = "own segmenter (optimistic)"
INDEPENDENT = "independent segmenter"
EXTERNAL = "external segmenter"
FOLDER = "masks from a folder"

_BATCH_SIZE = 8


def own_segmenter(run_dir: Path, choice: CheckpointChoice = CheckpointChoice.NEWEST) -> FindClasses:
    """The segmenter of a run's checkpoint; logit 0, the synthetic class, is dropped.

    Raises:
        UserError: The folder is no run or has no such checkpoint.
    """
    from medusis_tf.training.checkpoints import load_segmenter

    config, segmenter = load_segmenter(run_dir, choice)
    channels = config.data.image_channels

    def find(_: JudgedSubject, pictures: np.ndarray) -> np.ndarray:
        found = np.empty(pictures.shape, np.uint8)
        for start in range(0, len(pictures), _BATCH_SIZE):
            batch = pictures[start : start + _BATCH_SIZE, ..., np.newaxis].astype(np.float32)
            logits = np.asarray(segmenter(np.repeat(batch, channels, axis=-1), training=False))
            found[start : start + len(batch)] = logits[..., 1:].argmax(axis=-1)
        return found

    return find


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
        from medusis_tf.evaluation.external_segmenter import ExternalSegmenter

        return EXTERNAL, ExternalSegmenter(path, config.data.num_classes, config.data.image_size)
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

"""Get everything ready that pictures are judged by: segmenters, features of the real images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from medusis_tf.config.data import Split
from medusis_tf.errors import UserError
from medusis_tf.evaluation.extractors import InceptionExtractor, RadiomicsExtractor
from medusis_tf.evaluation.feature_set import FeatureSet
from medusis_tf.evaluation.judged_model import JudgedModel
from medusis_tf.evaluation.judges import Judges
from medusis_tf.evaluation.measures.distribution import FeatureExtractor
from medusis_tf.evaluation.measures.segmentation import FindClasses
from medusis_tf.evaluation.options import EvaluationOptions
from medusis_tf.evaluation.perceptual_networks import open_lpips
from medusis_tf.evaluation.segmenter_features import SegmenterExtractor
from medusis_tf.evaluation.segmenters import (
    FOLDER,
    OWN,
    masks_of_folder,
    open_segmenter,
    own_segmenter,
)
from medusis_tf.metrics.grey_levels import learn_grey_levels
from medusis_tf.metrics.lpips import LPIPS
from medusis_tf.metrics.sliced_wasserstein import PyramidPatches

if TYPE_CHECKING:
    from medusis_tf.data.shards import Shards


@dataclass(frozen=True)
class Instruments:
    """What was opened from files to judge by, before anything is painted.

    Attributes:
        segmenters: By what they are called in tables.
        masks: The same, of masks that another tool made of the model's own pictures.
        extractors: Of features.
        perceptual: Perceptual distances.
    """

    segmenters: Mapping[str, FindClasses]
    masks: Mapping[str, FindClasses]
    extractors: Sequence[FeatureExtractor]
    perceptual: Sequence[LPIPS]


def open_instruments(judged: JudgedModel, options: EvaluationOptions) -> Instruments:
    """Open everything that was asked for.

    Raises:
        UserError: Something cannot be opened, or does not fit the data; or masks are given for
            pictures of several seeds, which one set of masks cannot be of.
    """
    return Instruments(
        _segmenters(judged, options),
        _masks(judged, options),
        open_extractors(options),
        [open_lpips(name, *paths, options.sha256) for name, paths in options.lpips.items()],
    )


def prepare_judges(
    shards: Shards, judged: JudgedModel, split: Split, instruments: Instruments, has_pairs: bool
) -> Judges:
    """All that pictures are judged by; reads the real images of the split once.

    Args:
        shards: Prepared slices.
        judged: What is judged.
        split: On whose subjects.
        instruments: From `open_instruments`.
        has_pairs: Whether a subject of the split has its true image.
    """
    features = [
        (extractor, FeatureSet(extractor.dimension)) for extractor in instruments.extractors
    ]
    patches = PyramidPatches()
    for images in real_images(shards, split):
        patches.update(images)
        for extractor, found in features:
            found.update(extractor(images))
    has_images = bool(patches.levels())
    return Judges(
        class_names=[entry.name for entry in judged.config.data.classes],
        levels=learn_grey_levels(shards),
        has_pairs=has_pairs,
        segmenters=instruments.segmenters,
        masks=instruments.masks,
        features=features if has_images else (),
        real_patches=patches if has_images else None,
        perceptual=instruments.perceptual,
    )


def real_images(shards: Shards, split: Split) -> Iterator[np.ndarray]:
    """The real images of a split, a subject at a time: `[slices, height, width]` in [-1, 1]."""
    for record in shards.records.subjects:
        if record.split == split and "image" in record.kinds and record.num_slices:
            yield shards.read_image(record)


def _segmenters(judged: JudgedModel, options: EvaluationOptions) -> dict[str, FindClasses]:
    found: dict[str, FindClasses] = {}
    if options.segmenter is not None:
        name, find_classes = open_segmenter(options.segmenter, judged.config)
        found[name] = find_classes
    if judged.run_dir is not None:
        found[OWN] = own_segmenter(judged.run_dir, judged.choice)
    return found


def _masks(judged: JudgedModel, options: EvaluationOptions) -> dict[str, FindClasses]:
    if options.masks is None:
        return {}
    if judged.method.is_random and len(options.seeds) > 1:
        raise UserError(
            "--masks are of the pictures of one seed. Received: --seeds "
            f"{','.join(map(str, options.seeds))}. Give the seed that was segmented."
        )
    return {FOLDER: masks_of_folder(options.masks, judged.config, options.split)}


def open_extractors(options: EvaluationOptions) -> list[FeatureExtractor]:
    """The feature extractors there are; hand-made features need no weights.

    Raises:
        UserError: A weight file cannot be used.
    """
    found: list[FeatureExtractor] = [RadiomicsExtractor()]
    if (path := options.inception) is not None:
        found.append(InceptionExtractor(path, options.sha256.get(path)))
    if (path := options.segmenter) is not None and not path.is_dir():
        found.append(SegmenterExtractor(path, options.sha256.get(path)))
    return found

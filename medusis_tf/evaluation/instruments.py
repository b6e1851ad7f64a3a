"""What pictures are judged by: all the metrics of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from medusis_tf.config.data import Split
from medusis_tf.errors import UserError
from medusis_tf.evaluation.evaluated_model import EvaluatedModel
from medusis_tf.evaluation.options import EvaluationOptions
from medusis_tf.evaluation.segmenters import (
    FOLDER,
    OWN,
    masks_of_folder,
    open_segmenter,
    own_segmenter,
)
from medusis_tf.metrics.distribution import DistributionMeasure, FeatureExtractor, FeatureSet
from medusis_tf.metrics.extractors import InceptionExtractor, RadiomicsExtractor
from medusis_tf.metrics.grey_levels import GreyLevels, learn_grey_levels
from medusis_tf.metrics.independent_segmenter import SegmenterExtractor
from medusis_tf.metrics.lpips import LPIPS, PerceptualMeasure, open_lpips
from medusis_tf.metrics.measure import Measure
from medusis_tf.metrics.outline import OutlineMeasure
from medusis_tf.metrics.segmentation import FindClasses, SegmentationMeasure
from medusis_tf.metrics.similarity import SimilarityMeasure
from medusis_tf.metrics.sliced_wasserstein import PyramidMeasure, PyramidPatches
from medusis_tf.metrics.thesis_protocol import ThesisProtocolMeasure
from medusis_tf.metrics.volume_consistency import VolumeConsistencyMeasure

if TYPE_CHECKING:
    from medusis_tf.data.shards.shards import Shards


@dataclass(frozen=True)
class Measures:
    """What pictures are judged by.

    Attributes:
        class_names: Of ids 0, 1, and so on.
        levels: Which greys of the real images are air, and which tissue.
        has_pairs: Whether there are true images.
        segmenters: By what they are called in tables.
        masks: What was found beforehand in the model's own pictures, and says nothing of others.
        features: Each extractor with the features of the real images.
        real_patches: Patches of the real images; None without real images.
        perceptual: Perceptual distances.
    """

    class_names: Sequence[str]
    levels: GreyLevels
    has_pairs: bool
    segmenters: Mapping[str, FindClasses] = field(default_factory=dict)
    masks: Mapping[str, FindClasses] = field(default_factory=dict)
    features: Sequence[tuple[FeatureExtractor, FeatureSet]] = ()
    real_patches: PyramidPatches | None = None
    perceptual: Sequence[LPIPS] = ()

    def measures(self, is_model: bool = True) -> dict[str, Measure]:
        """A set of empty measures for one method; `a/b` in a name is a part of `a`.

        Args:
            is_model: Whether it is for the model that is judged, not for what it is compared with.
        """
        found: dict[str, Measure] = {}
        if self.has_pairs:
            found["similarity"] = SimilarityMeasure(self.class_names)
            found |= {
                f"perceptual/{each.name}": PerceptualMeasure(each) for each in self.perceptual
            }
            found["thesis_protocol"] = ThesisProtocolMeasure()
        found["outline"] = OutlineMeasure(self.levels)
        segmenters = {**self.segmenters, **(self.masks if is_model else {})}
        for name, find_classes in segmenters.items():
            found[f"segmentation/{name}"] = SegmentationMeasure(self.class_names, find_classes)
        for extractor, real in self.features:
            found[f"distribution/{extractor.name}"] = DistributionMeasure(extractor, real)
        if self.real_patches is not None:
            found["distribution/sliced_wasserstein"] = PyramidMeasure(self.real_patches)
        found["volume_consistency"] = VolumeConsistencyMeasure()
        return found


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


def open_instruments(judged: EvaluatedModel, options: EvaluationOptions) -> Instruments:
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


def prepare_measures(
    shards: Shards, judged: EvaluatedModel, split: Split, instruments: Instruments, has_pairs: bool
) -> Measures:
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
    return Measures(
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


def _segmenters(judged: EvaluatedModel, options: EvaluationOptions) -> dict[str, FindClasses]:
    found: dict[str, FindClasses] = {}
    if options.segmenter is not None:
        name, find_classes = open_segmenter(options.segmenter, judged.config)
        found[name] = find_classes
    if judged.run_dir is not None:
        own = own_segmenter(judged.run_dir, judged.choice)
        if own is not None:
            found[OWN] = own
    return found


def _masks(judged: EvaluatedModel, options: EvaluationOptions) -> dict[str, FindClasses]:
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

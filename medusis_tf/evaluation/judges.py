"""What pictures are judged by: all the metrics of an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from medusis_tf.evaluation.feature_set import FeatureSet
from medusis_tf.evaluation.measure import Measure
from medusis_tf.evaluation.measures.distribution import DistributionMeasure, FeatureExtractor
from medusis_tf.evaluation.measures.outline import OutlineMeasure
from medusis_tf.evaluation.measures.perceptual import PerceptualMeasure
from medusis_tf.evaluation.measures.pyramid import PyramidMeasure
from medusis_tf.evaluation.measures.segmentation import FindClasses, SegmentationMeasure
from medusis_tf.evaluation.measures.similarity import SimilarityMeasure
from medusis_tf.evaluation.measures.thesis_protocol import ThesisProtocolMeasure
from medusis_tf.evaluation.measures.volume_consistency import VolumeConsistencyMeasure
from medusis_tf.metrics.grey_levels import GreyLevels
from medusis_tf.metrics.lpips import LPIPS
from medusis_tf.metrics.sliced_wasserstein import PyramidPatches


@dataclass(frozen=True)
class Judges:
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

"""The metrics of an evaluation, in the order of their tables."""

from medusis_tf.config.plugins import registered
from medusis_tf.errors import UserError
from medusis_tf.metrics.consistency import VolumeConsistencyMetric
from medusis_tf.metrics.distribution import DistributionMetric
from medusis_tf.metrics.diversity import DiversityMetric
from medusis_tf.metrics.lpips import PerceptualMetric
from medusis_tf.metrics.memorization import MemorizationMetric
from medusis_tf.metrics.metric import Metric
from medusis_tf.metrics.outline import OutlineMetric
from medusis_tf.metrics.segmentation import SegmentationMetric
from medusis_tf.metrics.similarity import SimilarityMetric
from medusis_tf.metrics.thesis_protocol import ThesisProtocolMetric
from medusis_tf.metrics.volume_similarity import VolumeSimilarityMetric
from medusis_tf.metrics.wasserstein import SlicedWassersteinMetric

# A new metric is a file in medusis_tf/metrics and a line here.
METRICS: tuple[type[Metric], ...] = (
    SimilarityMetric,
    VolumeSimilarityMetric,
    PerceptualMetric,
    OutlineMetric,
    SegmentationMetric,
    DistributionMetric,
    SlicedWassersteinMetric,
    VolumeConsistencyMetric,
    DiversityMetric,
    MemorizationMetric,
    ThesisProtocolMetric,
)
GROUP = "medusis_tf.metrics"


def all_metrics() -> tuple[type[Metric], ...]:
    """The metrics above, and those that other packages add by entry points of `GROUP`.

    Raises:
        UserError: An entry point cannot be loaded, or is no subclass of `Metric`.
    """
    added = registered(GROUP)
    for name, metric in added.items():
        if not (isinstance(metric, type) and issubclass(metric, Metric)):
            raise UserError(
                f"the entry point {name} of the group {GROUP} must name a subclass of "
                f"medusis_tf.metrics.Metric. Received: {metric!r}. Repair or uninstall its package."
            )
    return (*METRICS, *added.values())

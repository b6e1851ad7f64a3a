"""What an evaluation knows of a metric: how it is measured and how it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from medusis_tf.metrics.tables import Content, MetricTable

if TYPE_CHECKING:
    from medusis_tf.data.shards.labelled_subjects import LabelledSubject
    from medusis_tf.metrics.distribution import FeatureExtractor
    from medusis_tf.metrics.grey_levels import GreyLevels
    from medusis_tf.metrics.lpips_network import LPIPS
    from medusis_tf.metrics.segmentation import FindClasses


class Measure(Protocol):
    """Collects the images of one painter, a volume at a time.

    Memory use must not grow with the number of volumes.
    """

    def update(self, subject: LabelledSubject, images: np.ndarray, seed: int = 0) -> None:
        """Add a volume.

        Args:
            subject: Subject whose label map the images were painted for.
            images: `[slices, height, width]` in [-1, 1].
            seed: Noise seed of the images.
        """

    def results(self) -> Mapping[str, Any]:
        """Results for `metrics.json`: plain values; NaN and infinity become null."""


@runtime_checkable
class ImageMeasure(Measure, Protocol):
    """A measure that needs images only, so that it can also measure the training images."""

    def add_images(self, images: np.ndarray) -> None:
        """Add the images of a volume, `[slices, height, width]` in [-1, 1]."""


@dataclass(frozen=True)
class Instruments:
    """Networks and files that an evaluation was given to measure with.

    Attributes:
        segmenters: Segmenters by their name in tables.
        masks: Masks that another tool found in the model's own images, by their name in tables.
        extractors: Feature extractors.
        lpips: LPIPS networks.
    """

    segmenters: Mapping[str, FindClasses] = field(default_factory=dict)
    masks: Mapping[str, FindClasses] = field(default_factory=dict)
    extractors: Sequence[FeatureExtractor] = ()
    lpips: Sequence[LPIPS] = ()


@dataclass(frozen=True)
class MetricContext:
    """What a metric can use: the data of the evaluation and the instruments.

    Attributes:
        class_names: Names of class ids 0, 1 and so on.
        grey_levels: Grey levels of air and of dark tissue in the training images.
        has_pairs: Whether any evaluated subject has its real image.
        has_images: Whether the split has any real image.
        real_images: Iterates over the real images of the split: `[slices, height, width]` in
            [-1, 1] of one subject at a time.
        instruments: Networks and files to measure with.
        coarse_ids: Id of the coarse class of each class; empty if no class is finer.
        coarse_names: Names of the coarse classes by id.
        slice_spacing_mm: Distance between neighbouring slices, by subject.
    """

    class_names: Sequence[str]
    grey_levels: GreyLevels
    has_pairs: bool
    has_images: bool
    real_images: Callable[[], Iterable[np.ndarray]]
    instruments: Instruments = Instruments()
    coarse_ids: Sequence[int] = ()
    coarse_names: Mapping[int, str] = field(default_factory=dict)
    slice_spacing_mm: Mapping[str, float] = field(default_factory=dict)


class Metric:
    """A metric of an evaluation.

    A new metric is a file with a subclass, and one entry in
    `medusis_tf.evaluation.metric_list.METRICS`. Another package adds a metric with an entry point
    of the group `medusis_tf.metrics` that names a subclass.

    The class is opened once for an evaluation. Read weights and real images in the constructor.

    Args:
        context: Data and instruments of the evaluation.
    """

    def __init__(self, context: MetricContext):
        self.context = context

    def measures(self, is_model: bool = True) -> Mapping[str, Measure]:
        """New, empty measures for one painter, by their key in `metrics.json`.

        The key `a/b` puts the results at `b` inside `a`. The mapping is empty if the data or the
        instruments lack what the metric needs.

        Args:
            is_model: Whether the painter is the evaluated model, not a reference or baseline.
        """
        return {}

    @staticmethod
    def tables(content: Content) -> Iterable[MetricTable]:
        """The tables of the metric. Tables without rows are not shown.

        Args:
            content: Content of `metrics.json`.
        """
        return ()

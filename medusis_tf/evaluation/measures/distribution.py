"""How far the synthetic pictures are from the real ones as two sets, in a feature space."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from medusis_tf.evaluation.feature_set import FeatureSet
from medusis_tf.evaluation.judged_subject import JudgedSubject
from medusis_tf.metrics.frechet import frechet_distance
from medusis_tf.metrics.kernel_distance import kernel_distance
from medusis_tf.metrics.manifold import NEIGHBOURS, manifold_agreement

# Added to the variance of each feature, as deviations: a share of its mean, and an absolute part.
# A feature that hardly varies in the real images, such as the share of the largest part, would
# otherwise drown all others with the first picture in which it is another.
_LEAST_RELATIVE, _LEAST_ABSOLUTE = 0.05, 1e-3


class FeatureExtractor(Protocol):
    """Describes pictures.

    Attributes:
        name: Such as `radiomics`.
        frechet_name: What the Frechet distance of these features is called.
        identity: What the features depend on: weight files and their SHA-256.
        dimension: Of a feature.
        has_units: Whether features have units of their own, and are compared less their mean and
            over their standard deviation in the real images.
    """

    name: str
    frechet_name: str
    identity: Mapping[str, str]
    dimension: int
    has_units: bool

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """`[pictures, dimension]` of `[slices, height, width]` in [-1, 1], of one volume."""


class DistributionMeasure:
    """Frechet and kernel distance, precision, recall, density and coverage.

    Args:
        extractor: What pictures are described by.
        real: Features of the real images.
    """

    def __init__(self, extractor: FeatureExtractor, real: FeatureSet):
        self._extractor, self._real = extractor, real
        self._synthetic = FeatureSet(extractor.dimension)

    def update(self, subject: JudgedSubject, pictures: np.ndarray) -> None:
        """Add a volume."""
        self._synthetic.update(self._extractor(pictures))

    def results(self) -> Mapping[str, Any]:
        """The distances, null with a reason where there are too few pictures."""
        return describe_distances(self._extractor, self._synthetic, self._real)


def describe_distances(
    extractor: FeatureExtractor, synthetic: FeatureSet, real: FeatureSet
) -> dict[str, Any]:
    """All distances of two sets of features, and what they were computed with."""
    return {
        "frechet_name": extractor.frechet_name,
        "identity": dict(extractor.identity),
        "dimension": extractor.dimension,
        "synthetic_slices": synthetic.count,
        "real_slices": real.count,
        **compare(synthetic, real, extractor.has_units),
    }


def compare(synthetic: FeatureSet, real: FeatureSet, has_units: bool) -> dict[str, Any]:
    """All distances between two sets of features.

    Args:
        synthetic: Features of pictures.
        real: Of real images.
        has_units: Whether to standardize by the real ones.
    """
    fewest = min(synthetic.count, real.count)
    if fewest < 2:
        return {"problem": f"two pictures of each kind are needed; there are {fewest}"}
    if has_units:
        mean, variance = real.moments.mean, np.diagonal(real.moments.covariance)
        least = _LEAST_RELATIVE * np.abs(mean) + _LEAST_ABSOLUTE
        scale = np.sqrt(variance + least**2)
        synthetic, real = (part.standardized(mean, scale) for part in (synthetic, real))
    found: dict[str, Any] = {
        "frechet_distance": frechet_distance(synthetic.moments, real.moments),
        "full_rank": fewest > len(real.moments.mean),
        "kernel_distance": asdict(kernel_distance(synthetic.sample, real.sample)),
    }
    if fewest > NEIGHBOURS:
        found["manifold"] = asdict(manifold_agreement(synthetic.sample, real.sample))
    return found

"""An even sample of features, of bounded size, however many there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np

from medusis_tf.data.shards.labelled_subjects import LabelledSubject
from medusis_tf.metrics.frechet import Moments, frechet_distance
from medusis_tf.metrics.kernel_distance import kernel_distance
from medusis_tf.metrics.manifold import NEIGHBOURS, manifold_agreement


class Reservoir:
    """Every picture has the same chance to be kept; which ones are depends on the seed alone.

    Args:
        size: Features that are kept at most.
        seed: Of the choice.

    Vitter, Random sampling with a reservoir, ACM TOMS 1985 (algorithm R).
    """

    def __init__(self, size: int, seed: int = 0):
        self._size = size
        self._generator = np.random.default_rng(seed)
        self._kept: list[np.ndarray] = []
        self.count = 0

    def update(self, features: np.ndarray) -> None:
        """Offer `[pictures, dimension]` features."""
        for feature in features:
            self.count += 1
            if len(self._kept) < self._size:
                self._kept.append(feature.copy())
                continue
            place = int(self._generator.integers(self.count))
            if place < self._size:
                self._kept[place] = feature.copy()

    @property
    def features(self) -> np.ndarray:
        """`[kept, dimension]`, the first ones in their order as long as there is room."""
        return np.stack(self._kept) if self._kept else np.empty((0, 0))


CAPACITY = 1000


class FeatureSet:
    """What distances between sets of pictures need; memory does not grow with their number.

    Args:
        dimension: Of a feature.
        capacity: Features that are kept for what needs them one by one.
    """

    def __init__(self, dimension: int, capacity: int = CAPACITY):
        self.moments = Moments(dimension)
        self._sample = Reservoir(capacity)

    def update(self, features: np.ndarray) -> None:
        """Add `[pictures, dimension]` features."""
        self.moments.update(features)
        self._sample.update(features)

    @property
    def count(self) -> int:
        """Pictures so far."""
        return self.moments.count

    @property
    def sample(self) -> np.ndarray:
        """`[pictures, dimension]`, `capacity` at most."""
        return self._sample.features

    def standardized(self, mean: np.ndarray, scale: np.ndarray) -> FeatureSet:
        """The same less a mean and over a scale, both `[dimension]`."""
        found = FeatureSet(len(scale))
        found.moments.count = self.moments.count
        found.moments.mean = (self.moments.mean - mean) / scale
        found.moments.scatter = self.moments.scatter / np.outer(scale, scale)
        found._sample.update((self.sample - mean) / scale)
        return found


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

    def update(self, subject: LabelledSubject, pictures: np.ndarray) -> None:
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

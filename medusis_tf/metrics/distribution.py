"""Distances between the distributions of synthetic and real features: Frechet, kernel, manifold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from medusis_tf.metrics.frechet import Moments, frechet_distance
from medusis_tf.metrics.kernel import kernel_distance
from medusis_tf.metrics.manifold import NEIGHBOURS, manifold_agreement
from medusis_tf.metrics.metric import Measure, Metric, MetricContext
from medusis_tf.metrics.tables import Cell, Column, Content, MetricTable, results_of

if TYPE_CHECKING:
    from medusis_tf.data.shards.labelled_subjects import LabelledSubject


class Reservoir:
    """A random sample of features, of bounded size, with the same chance for each feature.

    Args:
        size: Maximum number of kept features.
        seed: Seed of the choice, which depends on nothing else.

    Source: Vitter, Random sampling with a reservoir, ACM TOMS 1985 (algorithm R).
    """

    def __init__(self, size: int, seed: int = 0):
        self._size = size
        self._generator = np.random.default_rng(seed)
        self._kept: list[np.ndarray] = []
        self.count = 0

    def update(self, features: np.ndarray) -> None:
        """Offer `[images, dimension]` features."""
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
        """`[kept, dimension]`; in the order of the offers until the reservoir is full."""
        return np.stack(self._kept) if self._kept else np.empty((0, 0))


CAPACITY = 1000


class FeatureSet:
    """Moments and a sample of a set of features; memory does not grow with their number.

    Args:
        dimension: Length of a feature.
        capacity: Maximum number of features in the sample.
    """

    def __init__(self, dimension: int, capacity: int = CAPACITY):
        self.moments = Moments(dimension)
        self._sample = Reservoir(capacity)

    def update(self, features: np.ndarray) -> None:
        """Add `[images, dimension]` features."""
        self.moments.update(features)
        self._sample.update(features)

    @property
    def count(self) -> int:
        """Number of images so far."""
        return self.moments.count

    @property
    def sample(self) -> np.ndarray:
        """`[images, dimension]`, at most `capacity` images."""
        return self._sample.features

    def standardized(self, mean: np.ndarray, scale: np.ndarray) -> FeatureSet:
        """The set with a mean subtracted and divided by a scale, both `[dimension]`."""
        found = FeatureSet(len(scale))
        found.moments.count = self.moments.count
        found.moments.mean = (self.moments.mean - mean) / scale
        found.moments.scatter = self.moments.scatter / np.outer(scale, scale)
        found._sample.update((self.sample - mean) / scale)
        return found


# Added to the standard deviation of each feature: a fraction of its mean, and an absolute part.
# Otherwise a feature that hardly varies in the real images, such as the fraction of the largest
# component, would dominate all others as soon as it differs in one image.
_LEAST_RELATIVE, _LEAST_ABSOLUTE = 0.05, 1e-3


class FeatureExtractor(Protocol):
    """Computes features of images.

    Attributes:
        name: Name such as `radiomics`.
        frechet_name: Name of the Frechet distance of these features.
        identity: What the features depend on: weight files and their SHA-256.
        dimension: Length of a feature.
        has_units: Whether the features have different units. They are then standardized by mean
            and standard deviation of the real images before they are compared.
    """

    name: str
    frechet_name: str
    identity: Mapping[str, str]
    dimension: int
    has_units: bool

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """`[images, dimension]` of the slices of a volume, `[slices, height, width]` in [-1, 1]."""


def compare(synthetic: FeatureSet, real: FeatureSet, has_units: bool) -> dict[str, Any]:
    """All distances between two sets of features.

    Args:
        synthetic: Features of synthetic images.
        real: Features of real images.
        has_units: Whether to standardize by the real features.

    Returns:
        `frechet_distance`, `full_rank`, `kernel_distance` and `manifold`; or `problem`, if there
        are fewer than two images of each kind.
    """
    fewest = min(synthetic.count, real.count)
    if fewest < 2:
        return {"problem": f"two images of each kind are needed; there are {fewest}"}
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


class DistributionMeasure:
    """Frechet and kernel distance, precision, recall, density and coverage.

    Args:
        extractor: Feature extractor.
        real: Features of the real images.
    """

    def __init__(self, extractor: FeatureExtractor, real: FeatureSet):
        self._extractor, self._real = extractor, real
        self._synthetic = FeatureSet(extractor.dimension)

    def update(self, subject: LabelledSubject, images: np.ndarray, seed: int = 0) -> None:
        """Add a volume."""
        self.add_images(images)

    def add_images(self, images: np.ndarray) -> None:
        """Add the images of a volume, `[slices, height, width]` in [-1, 1]."""
        self._synthetic.update(self._extractor(images))

    def results(self) -> Mapping[str, Any]:
        """The distances of `compare`, and what they were computed from."""
        return {
            "frechet_name": self._extractor.frechet_name,
            "identity": dict(self._extractor.identity),
            "dimension": self._extractor.dimension,
            "synthetic_slices": self._synthetic.count,
            "real_slices": self._real.count,
            **compare(self._synthetic, self._real, self._extractor.has_units),
        }


class DistributionMetric(Metric):
    """Distances to the real images, in `distribution/FEATURES`; needs real images in the split."""

    def __init__(self, context: MetricContext):
        super().__init__(context)
        extractors = context.instruments.extractors if context.has_images else ()
        self._real = [(extractor, FeatureSet(extractor.dimension)) for extractor in extractors]
        if self._real:
            for images in context.real_images():
                for extractor, features in self._real:
                    features.update(extractor(images))

    def measures(self, is_model: bool = True) -> Mapping[str, Measure]:
        """One measure for each feature extractor."""
        return {
            f"distribution/{extractor.name}": DistributionMeasure(extractor, real)
            for extractor, real in self._real
        }

    @staticmethod
    def tables(content: Content) -> Iterable[MetricTable]:
        """One table for each feature extractor."""
        found = results_of(content, "distribution")
        # Patches have a table of their own.
        names = dict.fromkeys(
            name for _, each in found for name in each if "frechet_name" in each[name]
        )
        for name in names:
            yield _table(name, [(title, each[name]) for title, each in found if name in each])


def _table(features: str, found: list[tuple[str, Any]]) -> MetricTable:
    first = found[0][1]
    rows = []
    for name, each in found:
        manifold = each.get("manifold", {})
        parts = (manifold.get(part) for part in ("precision", "recall", "density", "coverage"))
        distances = each.get("frechet_distance"), _kernel_cell(each.get("kernel_distance"))
        rows.append((name, [*distances, *parts, each["synthetic_slices"]]))
    columns = [
        Column(first["frechet_name"], 4, is_significant=True),
        Column("kernel distance ± s. d.", is_significant=True),
        *(Column(title) for title in ("precision", "recall", "density", "coverage", "slices")),
    ]
    title = f"Distance to the real images: {features} features"
    return MetricTable(title, columns, rows, _notes(first))


def _kernel_cell(kernel: Mapping[str, Any] | None) -> Cell:
    if kernel is None:
        return None
    deviation = kernel["standard_deviation"]
    # One subset has no deviation: null in a file, NaN before.
    known = deviation is not None and math.isfinite(deviation)
    return {"mean": kernel["mean"], "standard_deviation": deviation if known else None}


def _notes(results: Mapping[str, Any]) -> list[str]:
    identity = ", ".join(f"{key} {str(value)[:16]}" for key, value in results["identity"].items())
    notes = [
        f"{results['frechet_name']}: to {results['real_slices']} real slices of the split; "
        f"{identity}",
        "kernel distance: KID's formula with these features, ± standard deviation over subsets, "
        "which is smaller than the deviation over other patients",
    ]
    if not results.get("full_rank", True):
        notes.append(
            f"fewer slices than the {results['dimension']} features: the covariances do not have "
            "full rank and the Frechet distance is too large; compare it only with distances of "
            "equally many slices"
        )
    return notes

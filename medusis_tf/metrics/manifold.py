"""Precision, recall, density and coverage of synthetic against real features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

NEIGHBOURS = 5


@dataclass(frozen=True)
class ManifoldAgreement:
    """How many synthetic images are realistic, and how many real images are covered.

    The neighbourhood of an image reaches to its k-th nearest image of the same set.

    Attributes:
        precision: Fraction of synthetic images inside a real image's neighbourhood.
        recall: Fraction of real images inside a synthetic image's neighbourhood.
        density: Mean number of real neighbourhoods around a synthetic image, divided by k. About 1
            for two samples of one distribution; can exceed 1.
        coverage: Fraction of real images with a synthetic image in their neighbourhood.
        neighbours: k.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    neighbours: int


def manifold_agreement(
    features: np.ndarray, real: np.ndarray, neighbours: int = NEIGHBOURS
) -> ManifoldAgreement:
    """Compare two sets of features by their nearest neighbours.

    Args:
        features: `[images, dimension]`, more images than `neighbours`.
        real: Features of the real images, likewise.
        neighbours: k.

    Raises:
        ValueError: A set has too few images.

    Source: Kynkaanniemi et al., Improved precision and recall metric, NeurIPS 2019; Naeem et al.,
    Reliable fidelity and diversity metrics for generative models, ICML 2020. Checked against prdc
    and torch-fidelity.
    """
    if min(len(features), len(real)) <= neighbours:
        raise ValueError(
            f"neighbourhoods of {neighbours} images need more images in each set. "
            f"Received: {len(features)}, {len(real)}"
        )
    real_radii, synthetic_radii = (_radii(part, neighbours) for part in (real, features))
    distances = cdist(real, features)
    in_real = distances <= real_radii[:, np.newaxis]
    in_synthetic = distances <= synthetic_radii[np.newaxis]
    return ManifoldAgreement(
        precision=float(in_real.any(axis=0).mean()),
        recall=float(in_synthetic.any(axis=1).mean()),
        density=float(in_real.sum(axis=0).mean() / neighbours),
        coverage=float(in_real.any(axis=1).mean()),
        neighbours=neighbours,
    )


def _radii(features: np.ndarray, neighbours: int) -> np.ndarray:
    # The nearest image of all is the image itself.
    return np.partition(cdist(features, features), neighbours, axis=1)[:, neighbours]

"""Precision, recall, density and coverage of synthetic against real features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist

NEIGHBOURS = 5


@dataclass(frozen=True)
class ManifoldAgreement:
    """What part of the synthetic pictures is realistic, and what part of the real ones is covered.

    Attributes:
        precision: Share of synthetic pictures that lie within a real picture's neighbourhood.
        recall: Share of real pictures that lie within a synthetic picture's neighbourhood.
        density: Real neighbourhoods a synthetic picture lies in, over `neighbours`; 1 expected of
            two samples of one distribution, may exceed it.
        coverage: Share of real pictures with a synthetic one in their neighbourhood.
        neighbours: k; a neighbourhood reaches to the k-th nearest picture of the same set.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    neighbours: int


def manifold_agreement(
    synthetic: np.ndarray, real: np.ndarray, neighbours: int = NEIGHBOURS
) -> ManifoldAgreement:
    """Compare two sets of features by their nearest neighbours.

    Args:
        synthetic: `[pictures, features]`, more pictures than `neighbours`.
        real: The same.
        neighbours: k.

    Raises:
        ValueError: A set has too few pictures.

    Kynkaanniemi et al., Improved precision and recall metric, NeurIPS 2019; Naeem et al., Reliable
    fidelity and diversity metrics for generative models, ICML 2020. Checked against prdc and
    torch-fidelity.
    """
    if min(len(synthetic), len(real)) <= neighbours:
        raise ValueError(
            f"neighbourhoods of {neighbours} need more pictures than that in each set. Received: "
            f"{len(synthetic)}, {len(real)}"
        )
    real_radii, synthetic_radii = (_radii(part, neighbours) for part in (real, synthetic))
    distances = cdist(real, synthetic)
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
    # The nearest of all is the picture itself.
    return np.partition(cdist(features, features), neighbours, axis=1)[:, neighbours]

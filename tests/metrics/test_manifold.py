"""Against published packages, and the papers' definitions written out image by image."""

import numpy as np
import pytest

from medusis_tf.metrics.manifold import manifold_agreement
from tests.reference.reference_arrays import cases, reference_arrays

RECORDED = reference_arrays("metrics/feature_distances")


def radius(point, others, k):
    return sorted(np.linalg.norm(point - other) for other in others)[k]


def by_definition(synthetic, real, k):
    """Kynkaanniemi 2019, equations 1 and 2; Naeem 2020, equations 3 and 6."""
    real_radii = [radius(x, real, k) for x in real]
    synthetic_radii = [radius(y, synthetic, k) for y in synthetic]

    def contains(centres, radii, point):
        return [np.linalg.norm(c - point) <= r for c, r in zip(centres, radii, strict=True)]

    return {
        "precision": np.mean([any(contains(real, real_radii, y)) for y in synthetic]),
        "recall": np.mean([any(contains(synthetic, synthetic_radii, x)) for x in real]),
        "density": np.mean([sum(contains(real, real_radii, y)) for y in synthetic]) / k,
        "coverage": np.mean(
            [
                any(np.linalg.norm(x - y) <= r for y in synthetic)
                for x, r in zip(real, real_radii, strict=True)
            ]
        ),
    }


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("gap", [0.0, 1.0])
def test_agrees_with_the_definitions(k, gap):
    rng = np.random.default_rng(0)
    synthetic, real = rng.normal(gap, 0.7, (37, 3)), rng.normal(size=(52, 3))
    found = manifold_agreement(synthetic, real, k)
    for name, expected in by_definition(synthetic, real, k).items():
        assert getattr(found, name) == pytest.approx(expected), name
    assert found.neighbours == k


@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("case", cases(RECORDED, "first"))
def test_agrees_with_torch_fidelity_and_prdc(case, k):
    found = manifold_agreement(RECORDED[f"{case}/first"], RECORDED[f"{case}/second"], k)
    for name in ("precision", "recall", "density", "coverage"):
        expected = float(RECORDED[f"{case}/prdc_{name}_{k}"])
        assert getattr(found, name) == pytest.approx(expected, rel=1e-12), name
    for name in ("precision", "recall"):
        expected = float(RECORDED[f"{case}/torch_fidelity_{name}_{k}"])
        assert getattr(found, name) == pytest.approx(expected, rel=1e-6), name


def test_equal_sets_are_perfect():
    features = np.random.default_rng(0).normal(size=(40, 4))
    found = manifold_agreement(features, features)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert found.density >= 1


def test_two_samples_of_one_distribution_have_density_near_1():
    rng = np.random.default_rng(0)
    found = manifold_agreement(*rng.normal(size=(2, 500, 4)))
    assert found.density == pytest.approx(1, abs=0.1)
    assert found.coverage > 0.9


def test_disjoint_sets_have_nothing_in_common():
    rng = np.random.default_rng(0)
    found = manifold_agreement(rng.normal(100, 1, (30, 4)), rng.normal(size=(30, 4)))
    assert (found.precision, found.recall, found.density, found.coverage) == (0, 0, 0, 0)


def test_a_collapsed_model_is_precise_and_covers_little():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(200, 3))
    found = manifold_agreement(rng.normal(0, 0.01, (200, 3)), real)
    assert found.precision == 1
    assert found.recall < 0.05
    assert found.coverage < 0.2


def test_equal_images_have_no_radius_and_still_meet_themselves():
    same = np.ones((8, 2))
    found = manifold_agreement(same, same)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match=r"more images.*5, 6"):
        manifold_agreement(np.zeros((5, 2)), np.zeros((6, 2)))

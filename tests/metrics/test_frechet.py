import numpy as np
import pytest

from medusis_tf.metrics.frechet import Moments, frechet_distance
from tests.reference.reference_arrays import cases, reference_arrays

ARRAYS = reference_arrays("activation_distances")
RECORDED = reference_arrays("metrics/feature_distances")


@pytest.mark.parametrize("case", cases(ARRAYS, "first"))
def test_agrees_with_tensorflow_gan(case):
    first, second = (ARRAYS[f"{case}/{name}"] for name in ("first", "second"))
    # With fewer images than features the root of a singular matrix keeps half the digits.
    expected = float(ARRAYS[f"{case}/frechet"])
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("package", ["torch_fidelity", "pytorch_fid"])
@pytest.mark.parametrize("case", cases(RECORDED, "first"))
def test_agrees_with(package, case):
    first, second = (RECORDED[f"{case}/{name}"] for name in ("first", "second"))
    expected = float(RECORDED[f"{case}/frechet_{package}"])
    # The packages take roots of singular matrices in float64; ours takes eigenvalues.
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)


def test_equal_sets_are_at_no_distance():
    features = np.random.default_rng(0).normal(size=(40, 8))
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(Moments.of(features), features) == pytest.approx(0, abs=1e-9)


def test_the_distance_of_known_normal_distributions():
    # Independent features: |m1 - m2|^2 + sum (s1 - s2)^2.
    sign = np.array([[1.0], [-1.0]]) / np.sqrt(2)
    assert frechet_distance(3 * sign, 2 + 5 * sign) == pytest.approx(4 + 4)


def test_different_features_are_refused():
    with pytest.raises(ValueError, match="same features"):
        frechet_distance(Moments(2), Moments(3))


def test_moments_agree_with_numpy_for_any_pieces():
    features = np.random.default_rng(0).normal(5, 2, (57, 6)) @ np.diag([1, 2, 3, 4, 5, 1e-3])
    moments = Moments(6)
    for piece in np.split(features, [1, 1, 20, 21]):
        moments.update(piece)
    assert moments.count == 57
    np.testing.assert_allclose(moments.mean, features.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(
        moments.covariance, np.cov(features, rowvar=False), rtol=1e-9, atol=1e-12
    )


def test_keeps_digits_far_from_zero():
    features = 1e6 + np.random.default_rng(1).normal(0, 1e-2, (1000, 2))
    moments = Moments(2)
    for piece in np.split(features, 50):
        moments.update(piece.astype(np.float64))
    np.testing.assert_allclose(moments.covariance, np.cov(features, rowvar=False), rtol=1e-6)


def test_one_feature_has_no_covariance():
    moments = Moments(3)
    moments.update(np.ones((1, 3)))
    with pytest.raises(ValueError, match="two features"):
        moments.covariance  # noqa: B018

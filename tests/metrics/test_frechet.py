import numpy as np
import pytest

from medusis_tf.metrics.frechet import Moments, frechet_distance
from tests.reference.reference_arrays import cases, reference_arrays

ARRAYS = reference_arrays("activation_distances")
RECORDED = reference_arrays("metrics/feature_distances")


def moments_of(features):
    moments = Moments(features.shape[1])
    moments.update(features)
    return moments


@pytest.mark.parametrize("case", cases(ARRAYS, "first"))
def test_agrees_with_tensorflow_gan(case):
    first, second = (moments_of(ARRAYS[f"{case}/{name}"]) for name in ("first", "second"))
    # Fewer pictures than features: the root of a singular matrix keeps half the digits.
    expected = float(ARRAYS[f"{case}/frechet"])
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("package", ["torch_fidelity", "pytorch_fid"])
@pytest.mark.parametrize("case", cases(RECORDED, "first"))
def test_agrees_with(package, case):
    first, second = (moments_of(RECORDED[f"{case}/{name}"]) for name in ("first", "second"))
    expected = float(RECORDED[f"{case}/frechet_{package}"])
    # Their roots of singular matrices are of float64's precision; ours takes eigenvalues.
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)


def test_equal_sets_are_at_no_distance():
    features = np.random.default_rng(0).normal(size=(40, 8))
    assert frechet_distance(moments_of(features), moments_of(features)) == pytest.approx(
        0, abs=1e-9
    )


def test_of_known_normal_distributions():
    # Independent features: |m1 - m2|^2 + sum (s1 - s2)^2.
    sign = np.array([[1.0], [-1.0]]) / np.sqrt(2)
    first, second = moments_of(3 * sign), moments_of(2 + 5 * sign)
    assert frechet_distance(first, second) == pytest.approx(4 + 4)


def test_different_features_are_refused():
    with pytest.raises(ValueError, match="same features"):
        frechet_distance(Moments(2), Moments(3))

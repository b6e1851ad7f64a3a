import numpy as np
import pytest

from medusis_tf.metrics.frechet import Moments


def test_as_numpy_whatever_the_pieces():
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

"""What tensorflow-gan's distances between two sets of features are, in plain NumPy."""

import numpy as np
import pytest

from tests.reference.reference_arrays import cases, reference_arrays

ARRAYS = reference_arrays("activation_distances")
CASES = cases(ARRAYS, "first")


def clouds(case):
    return ARRAYS[f"{case}/first"].astype(float), ARRAYS[f"{case}/second"].astype(float)


def squared_distance_of_means(first, second):
    return np.sum((first.mean(axis=0) - second.mean(axis=0)) ** 2)


@pytest.mark.parametrize("case", CASES)
def test_frechet(case):
    first, second = (
        (cloud - cloud.mean(axis=0)) / np.sqrt(len(cloud) - 1) for cloud in clouds(case)
    )
    # The trace of the root of a product of covariances is the nuclear norm of the centred clouds'
    # product: no root of a matrix, and no trouble where there are fewer images than dimensions.
    shared = np.linalg.norm(first @ second.T, "nuc")
    covariances = np.sum(first**2) + np.sum(second**2) - 2 * shared
    expected = squared_distance_of_means(*clouds(case)) + covariances
    assert ARRAYS[f"{case}/frechet"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_frechet_of_means_alone(case):
    expected = squared_distance_of_means(*clouds(case))
    assert ARRAYS[f"{case}/means"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_frechet_without_covariances_has_the_biased_deviations(case):
    first, second = clouds(case)
    deviations = np.sum((first.std(axis=0) - second.std(axis=0)) ** 2)
    expected = squared_distance_of_means(first, second) + deviations
    assert ARRAYS[f"{case}/diagonal"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("block", [1024, 20])
@pytest.mark.parametrize("case", CASES)
def test_kernel(case, block):
    first, second = clouds(case)
    count = -(-max(len(first), len(second)) // block)
    blocks = zip(split(first, count), split(second, count), strict=True)
    estimates = np.array([kernel_estimate(*pair) for pair in blocks])
    assert ARRAYS[f"{case}/kernel_{block}"] == pytest.approx(estimates.mean(), rel=1e-9)
    error = estimates.std(ddof=1) / np.sqrt(count) if count > 1 else np.nan
    assert ARRAYS[f"{case}/kernel_{block}_error"] == pytest.approx(error, rel=1e-9, nan_ok=True)


def split(cloud, count):
    """Blocks of nearly one size; the longer ones come last, where NumPy has them first."""
    return [part[::-1] for part in np.array_split(cloud[::-1], count)][::-1]


def kernel_estimate(first, second):
    """The unbiased squared maximum mean discrepancy of the kernel `(x . y / dimensions + 1)^3`."""

    def kernel(left, right):
        return (left @ right.T / left.shape[1] + 1) ** 3

    def mean_of_pairs(cloud):
        return kernel(cloud, cloud)[~np.eye(len(cloud), dtype=bool)].mean()

    return mean_of_pairs(first) + mean_of_pairs(second) - 2 * kernel(first, second).mean()

import numpy as np
import pytest

from medusis_tf.metrics.kernel import kernel_distance, polynomial_mmd
from tests.reference.reference_arrays import cases, reference_arrays

ARRAYS = reference_arrays("activation_distances")
RECORDED = reference_arrays("metrics/feature_distances")


@pytest.mark.parametrize("case", cases(ARRAYS, "first"))
def test_agrees_with_tensorflow_gan(case):
    # Blocks of at most 1024 images: the large case has two, the longer one last.
    first, second = (ARRAYS[f"{case}/{name}"].astype(float) for name in ("first", "second"))
    count = -(-max(len(first), len(second)) // 1024)
    cuts = [[len(part) * i // count for i in range(1, count)] for part in (first, second)]
    blocks = zip(np.split(first, cuts[0]), np.split(second, cuts[1]), strict=True)
    expected = float(ARRAYS[f"{case}/kernel_1024"])
    found = np.mean([polynomial_mmd(*pair) for pair in blocks])
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("case", cases(RECORDED, "first"))
def test_agrees_with_torch_fidelity(case):
    # The first ones of the larger set: one subset of all images.
    first, second = (RECORDED[f"{case}/{name}"] for name in ("first", "second"))
    size = min(len(first), len(second))
    found = kernel_distance(first[:size], second[:size], subset_size=1000)
    expected = float(RECORDED[f"{case}/kernel_torch_fidelity"])
    assert (found.subsets, found.subset_size) == (1, size)
    assert found.mean == pytest.approx(expected, rel=1e-9)


def test_unbiased_for_similar_sets():
    rng = np.random.default_rng(0)
    values = [polynomial_mmd(*(rng.normal(size=(20, 5)) for _ in range(2))) for _ in range(400)]
    assert min(values) < 0 < max(values)
    assert abs(np.mean(values)) < 3 * np.std(values) / 20


def test_grows_with_the_gap():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(150, 4))
    near, far = (kernel_distance(rng.normal(gap, 1, (150, 4)), real) for gap in (0.2, 1.0))
    assert 0 < near.mean < far.mean
    assert (near.subsets, near.subset_size) == (100, 100)
    assert near.standard_error == pytest.approx(near.standard_deviation / 10)
    assert near.standard_deviation > 0


def test_one_subset_if_it_holds_all_images():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 30, 4))
    found = kernel_distance(first, second)
    assert found.mean == pytest.approx(polynomial_mmd(first, second))
    assert found.subsets == 1
    assert np.isnan(found.standard_error)


def test_the_larger_set_is_drawn_from():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(30, 4)), rng.normal(size=(90, 4))
    found = kernel_distance(first, second, subsets=400)
    assert (found.subsets, found.subset_size) == (400, 30)
    # Every subset has the whole smaller set: its mean is the mean over all pairs.
    assert found.mean == pytest.approx(polynomial_mmd(first, second), abs=4 * found.standard_error)
    assert found == kernel_distance(first, second, subsets=400)


def test_a_single_image_is_refused():
    with pytest.raises(ValueError, match="two images"):
        kernel_distance(np.ones((1, 3)), np.ones((5, 3)))

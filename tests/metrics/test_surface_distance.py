import numpy as np
import pytest
from scipy.spatial.distance import cdist

from medusis_tf.metrics.segmentation import hausdorff_95
from tests.reference.reference_arrays import cases, reference_arrays

ARRAYS = reference_arrays("metrics/surface_distances")


def mask(shape, *box):
    result = np.zeros(shape, bool)
    result[box] = True
    return result


def test_a_shifted_square_in_mm():
    first = mask((40, 40), slice(10, 20), slice(10, 20))
    second = mask((40, 40), slice(10, 20), slice(14, 24))
    # Pixels of 2 mm, shifted by four of them: most of the border is 8 mm away at most.
    assert hausdorff_95(first, second, (2.0, 2.0)) == pytest.approx(8)
    assert hausdorff_95(first, first, (2.0, 2.0)) == 0


def recorded(case, *quantities):
    return [ARRAYS[f"{case}/{quantity}"] for quantity in quantities]


@pytest.mark.parametrize("case", cases(ARRAYS, "medpy"))
def test_agrees_with_medpy(case):
    first, second, spacing, expected = recorded(case, "first", "second", "spacing", "medpy")
    found = hausdorff_95(first, second, tuple(spacing.tolist()))
    assert found == pytest.approx(float(expected), rel=1e-12)
    assert found == hausdorff_95(second, first, tuple(spacing.tolist()))


@pytest.mark.parametrize("case", cases(ARRAYS, "monai"))
def test_monai_takes_the_greater_of_the_two_directions(case):
    # Pooled, the percentile lies between those of the directions.
    first, second, spacing, greater = recorded(case, "first", "second", "spacing", "monai")
    assert hausdorff_95(first, second, tuple(spacing)) <= float(greater) * (1 + 1e-6)


def test_by_brute_force():
    rng = np.random.default_rng(0)
    first, second = (np.kron(rng.random((6, 7)) > 0.5, np.ones((3, 3))) > 0 for _ in range(2))
    spacing = np.array([1.5, 0.7])

    def border(array):
        padded = np.pad(array, 1)
        inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        return np.argwhere(array & ~inner) * spacing

    distances = cdist(border(first), border(second))
    expected = np.percentile(np.concatenate([distances.min(axis=1), distances.min(axis=0)]), 95)
    assert hausdorff_95(first, second, tuple(spacing)) == pytest.approx(expected)


def test_in_a_volume_distances_are_in_all_directions():
    first, second = mask((9, 9, 9), 4, 4, 4), mask((9, 9, 9), 6, 5, 4)
    assert hausdorff_95(first, second, (3.0, 2.0, 1.0)) == pytest.approx(np.hypot(6, 2))


def test_the_inner_border_counts_too():
    ring = mask((20, 20), slice(2, 18), slice(2, 18))
    full = ring.copy()
    ring[6:14, 6:14] = False
    # The ring's inner border is 4 or 3 pixels from the square's only border.
    assert hausdorff_95(ring, full, (1.0, 1.0)) == pytest.approx(3)


def test_no_distance_to_nothing():
    assert np.isnan(hausdorff_95(mask((8, 8), 3), mask((8, 8), slice(0)), (1.0, 1.0)))


def test_a_mask_at_the_edge_of_the_slice():
    first, second = mask((10, 10), slice(0, 3)), mask((10, 10), slice(0, 5))
    assert hausdorff_95(first, second, (1.0, 1.0)) == pytest.approx(2)


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        hausdorff_95(mask((8, 8), 3), mask((8, 9), 3), (1.0, 1.0))

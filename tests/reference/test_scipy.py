"""SciPy computes what tensorflow-addons does, and stands in for it."""

import numpy as np
import pytest
from scipy import ndimage

from tests.reference.reference_arrays import cases, reference_arrays

COMPONENTS = reference_arrays("connected_components")
DISTANCES = reference_arrays("euclidean_distance")
BLURRED = reference_arrays("gaussian_filter")


@pytest.mark.parametrize("case", cases(COMPONENTS, "mask"))
def test_label_numbers_components_alike_from_1_in_each_image(case):
    # tensorflow-addons numbers on through the batch.
    before = 0
    for mask, expected in zip(
        COMPONENTS[f"{case}/mask"], COMPONENTS[f"{case}/labels"], strict=True
    ):
        labels, count = ndimage.label(mask)
        np.testing.assert_array_equal(np.where(mask, labels + before, 0), expected)
        before += count


@pytest.mark.parametrize("case", [case for case in cases(DISTANCES, "mask") if case != "full"])
def test_distance_transform(case):
    distance = np.stack([ndimage.distance_transform_edt(m) for m in DISTANCES[f"{case}/mask"]])
    np.testing.assert_array_equal(distance, DISTANCES[f"{case}/float64"])
    np.testing.assert_allclose(distance, DISTANCES[f"{case}/float32"], rtol=1e-7)


def test_distance_without_a_zero_is_defined_by_neither():
    # tensorflow-addons gives the root of the largest number, SciPy a distance to no pixel at all.
    full = DISTANCES["full/mask"][0]
    assert np.all(DISTANCES["full/float64"] == np.sqrt(np.finfo(np.float64).max))
    assert ndimage.distance_transform_edt(full).max() < 2 * len(full)


@pytest.mark.parametrize("case", cases(BLURRED, "blurred"))
def test_gaussian_filter(case):
    padding, sigma, size = case.split("_")
    # REFLECT leaves the border pixel out, which SciPy calls mirror; SYMMETRIC repeats it.
    mode = {"reflect": "mirror", "symmetric": "reflect"}[padding]
    blurred = ndimage.gaussian_filter(
        BLURRED["image"], float(sigma), mode=mode, radius=int(size) // 2
    )
    np.testing.assert_allclose(blurred, BLURRED[f"{case}/blurred"], atol=1e-14)

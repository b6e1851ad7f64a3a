import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medusis_tf.data.slicing.resampling import AxisSampling, sample_linear, sample_nearest

RNG = np.random.default_rng(5)
SIDES = st.integers(1, 12)
MM = st.floats(0.3, 5)


def positions(count, spacing_mm, source_count, source_spacing_mm):
    """Positions of the points with aligned centres, in source indices."""
    mm = spacing_mm * (np.arange(count) + 0.5) - spacing_mm * count / 2
    return (mm + source_spacing_mm * source_count / 2) / source_spacing_mm - 0.5


@settings(max_examples=60, deadline=None)
@given(sizes=st.tuples(SIDES, SIDES, SIDES, SIDES), mm=st.tuples(MM, MM, MM, MM))
def test_linear_sampling_equals_scipy(sizes, mm):
    source = RNG.normal(size=[2, *sizes[2:]]).astype(np.float32)
    axes = [(sizes[i], mm[i], sizes[2 + i], mm[2 + i]) for i in (0, 1)]
    sampled = sample_linear(source, *(AxisSampling(*axis) for axis in axes), fill=-7)
    places = [positions(*axis) for axis in axes]
    inside = np.logical_and.outer(
        *(
            (place > -0.5 + 1e-5) & (place < side - 0.5 - 1e-5)
            for place, side in zip(places, sizes[2:], strict=True)
        )
    )
    outside = ~np.logical_and.outer(
        *(
            (place >= -0.5 - 1e-5) & (place <= side - 0.5 + 1e-5)
            for place, side in zip(places, sizes[2:], strict=True)
        )
    )
    grid = np.meshgrid(*places, indexing="ij")
    for plane, original in zip(sampled, source, strict=True):
        expected = ndimage.map_coordinates(original, grid, order=1, mode="nearest")
        np.testing.assert_allclose(plane[inside], expected[inside], atol=2e-5)
        assert np.all(plane[outside] == -7)


@settings(max_examples=60, deadline=None)
@given(sizes=st.tuples(SIDES, SIDES), mm=st.tuples(MM, MM))
def test_the_nearest_point_is_chosen(sizes, mm):
    sampling = AxisSampling(sizes[0], mm[0], sizes[1], mm[1])
    place = positions(sizes[0], mm[0], sizes[1], mm[1])
    distance = np.abs(place[:, None] - np.arange(sizes[1]))
    chosen = np.take_along_axis(distance, sampling.nearest[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(chosen, distance.min(axis=1), atol=2e-6)


def test_nearest_values_keep_their_type_and_are_copied():
    source = RNG.integers(0, 200, [2, 3, 4]).astype(np.uint8)
    same = AxisSampling(3, 1.0, 3, 1.0), AxisSampling(4, 1.0, 4, 1.0)
    sampled = sample_nearest(source, *same, fill=0)
    np.testing.assert_array_equal(sampled, source)
    assert sampled.dtype == np.uint8
    sampled[:] = 0
    assert source.any()


@pytest.mark.parametrize("spacing", [1.0, 0.1, 0.977, 1 / 3, 3.27e-3])
@pytest.mark.parametrize("count", [1, 2, 7, 256, 1001])
def test_equal_axes_match_exactly(count, spacing):
    sampling = AxisSampling(count, spacing, count, spacing)
    np.testing.assert_array_equal(sampling.lower, np.arange(count))
    np.testing.assert_array_equal(sampling.nearest, np.arange(count))
    assert not sampling.weight.any()
    assert sampling.inside.all()


@pytest.mark.parametrize("count", [2, 6, 7, 512])
def test_half_the_spacing_samples_every_voxel_twice(count):
    nearest = AxisSampling(2 * count, 0.5, count, 1.0).nearest
    np.testing.assert_array_equal(nearest, np.arange(count).repeat(2))


def test_all_halves_are_rounded_in_one_direction():
    # 0.1 is not a binary fraction: without rounding, some halves would go down, others up.
    sampling = AxisSampling(300, 0.1, 301, 0.1)
    np.testing.assert_array_equal(sampling.nearest, np.arange(1, 301))


def test_a_shift_moves_the_points_along_the_source():
    np.testing.assert_array_equal(AxisSampling(3, 1, 9, 1, shift=2).lower, [5, 6, 7])
    far = AxisSampling(3, 1, 9, 1, shift=-100)
    assert not far.inside.any()
    np.testing.assert_array_equal(far.nearest, 0)


def test_neighbours_and_weights_stay_within_the_source():
    sampling = AxisSampling(50, 0.31, 4, 3.7)
    assert sampling.lower.min() >= 0
    assert sampling.upper.max() <= 3
    assert sampling.weight.min() >= 0
    assert sampling.weight.max() < 1

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medusis_tf.data.nifti import read_volume, write_volume
from medusis_tf.data.slices import SliceGrid, choose_slices
from tests.data.volume_files import AXIS_ORDERS, lps_affine, volume, write_nifti

RNG = np.random.default_rng(1)


def grid_on(array, spacing, size, spacing_mm):
    return SliceGrid(size, spacing_mm, array.shape, spacing)


def test_rows_run_to_posterior_and_columns_to_the_left():
    array = RNG.normal(size=[6, 5, 3]).astype(np.float32)
    slices = grid_on(array, (1, 1, 1), (5, 6), (1, 1)).image_slices(array)
    for row, column, z in np.ndindex(5, 6, 3):
        assert slices[z, row, column] == array[column, row, z]


def test_a_larger_grid_pads_and_a_smaller_one_crops_around_the_centre():
    array = np.arange(1, 17).reshape(4, 4, 1)
    padded = grid_on(array, (1, 1, 1), (6, 6), (1, 1)).label_slices(array)[0]
    np.testing.assert_array_equal(padded[1:5, 1:5], array[..., 0].T)
    assert padded.sum() == array.sum()
    cropped = grid_on(array, (1, 1, 1), (2, 2), (1, 1)).label_slices(array)[0]
    np.testing.assert_array_equal(cropped, array[1:3, 1:3, 0].T)


def test_outside_the_volume_images_are_air():
    array = np.zeros([2, 2, 1], np.float32)
    slices = grid_on(array, (1, 1, 1), (4, 4), (1, 1)).image_slices(array)
    assert slices[0, 0, 0] == -1 and slices[0, 1, 1] == 0


def test_images_are_linear_between_voxels():
    array = np.array([0.0, 1.0]).reshape(2, 1, 1)
    slices = grid_on(array, (2, 1, 1), (1, 4), (1, 1)).image_slices(array)
    np.testing.assert_allclose(slices[0, 0], [0, 0.25, 0.75, 1])


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 5)] * 3),
    size=st.tuples(*[st.integers(1, 12)] * 2),
    spacing_mm=st.tuples(*[st.floats(0.3, 5)] * 2),
    ids=st.lists(st.integers(1, 255), min_size=1, max_size=5),
)
def test_no_class_appears_that_was_not_there(shape, spacing, size, spacing_mm, ids):
    array = RNG.choice(ids, shape).astype(np.uint8)
    slices = grid_on(array, spacing, size, spacing_mm).label_slices(array)
    assert slices.shape == (shape[2], *size)
    assert set(np.unique(slices)) <= {0, *ids}


@pytest.mark.parametrize("extra", [0, 2, 6])
def test_the_inverse_is_exact_on_the_same_spacing(extra):
    array = RNG.uniform(-1, 1, [7, 9, 4]).astype(np.float32)
    grid = grid_on(array, (0.977, 1.3, 3.27), (9 + extra, 7 + extra), (1.3, 0.977))
    np.testing.assert_array_equal(grid.from_slices(grid.image_slices(array)), array)


def test_the_inverse_of_anisotropic_grids_keeps_linear_ramps():
    x, y, z = np.meshgrid(np.arange(20), np.arange(16), np.arange(3), indexing="ij")
    array = (0.02 * x - 0.03 * y + 0.1 * z).astype(np.float32)
    grid = grid_on(array, (0.8, 1.1, 3.0), (32, 32), (0.6, 0.55))
    restored = grid.from_slices(grid.image_slices(array))
    np.testing.assert_allclose(restored[1:-1, 1:-1], array[1:-1, 1:-1], atol=1e-5)


def test_voxels_that_the_grid_does_not_reach_get_the_fill_value():
    grid = SliceGrid((2, 2), (1, 1), (4, 4, 1), (1, 1, 1))
    restored = grid.from_slices(np.zeros([1, 2, 2]), fill=7)
    np.testing.assert_array_equal(restored[1:3, 1:3], 0)
    assert (restored == 7).sum() == 12


@pytest.mark.parametrize("axes", AXIS_ORDERS)
def test_slices_return_to_the_files_own_axes(axes, tmp_path):
    array = RNG.uniform(-1, 1, [4, 6, 3]).astype(np.float32)
    source = write_nifti(tmp_path / "a.nii", array, lps_affine((2, 2, 5)), axes)
    read = read_volume(source)
    grid = SliceGrid((8, 8), (2, 2), read.shape, read.spacing_mm)
    write_volume(tmp_path / "b.nii", grid.from_slices(grid.image_slices(read.array)), source)
    assert (tmp_path / "b.nii").read_bytes()[352:] == source.read_bytes()[352:]


def test_slices_of_another_shape_are_refused():
    grid = SliceGrid((2, 2), (1, 1), (4, 4, 3), (1, 1, 1))
    with pytest.raises(ValueError, match="shape"):
        grid.from_slices(np.zeros([2, 2, 2]))
    with pytest.raises(ValueError, match="shape"):
        grid.image_slices(np.zeros([4, 4, 2]))


@pytest.mark.parametrize(
    "corner, size",
    [((50, 50), (16, 16)), ((0, 50), (16, 104)), ((50, 99), (104, 16)), ((41, 58), (24, 24))],
)
def test_the_covering_grid_grows_by_strides_until_all_foreground_is_in(corner, size):
    array = np.zeros([100, 100, 2], np.uint8)
    array[corner[0], corner[1], 1] = 3
    grid = SliceGrid.covering(volume(array), (16, 16), (1.0, 1.0), stride=8)
    assert grid.size == size
    assert 3 in grid.label_slices(array)


def test_the_covering_grid_of_an_empty_map_is_that_of_training():
    grid = SliceGrid.covering(volume(np.zeros([9, 9, 2])), (16, 24), (1.0, 2.0), stride=8)
    assert grid.size == (16, 24)


def test_a_slice_needs_enough_foreground_in_both():
    label_slices = np.zeros([4, 10, 10], np.uint8)
    image_slices = np.full([4, 10, 10], -1.0)
    label_slices[[0, 1], :2] = 1
    image_slices[[0, 2], :2] = -0.5
    image_slices[3] = -0.95
    assert choose_slices(label_slices, image_slices, 0.1).tolist() == [0]
    assert choose_slices(label_slices, None, 0.2).tolist() == [0, 1]
    assert choose_slices(None, image_slices, 0.1).tolist() == [0, 2]
    assert choose_slices(label_slices, image_slices, 0.0).tolist() == [0, 1, 2, 3]

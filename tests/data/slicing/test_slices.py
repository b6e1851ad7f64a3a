import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medusis_tf.config.data import DataConfig
from medusis_tf.data.slicing.slices import SliceGrid
from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.volume import Volume
from tests.data.volume_files import lps_affine, volume

RNG = np.random.default_rng(1)
AXES = ("axial", "coronal", "sagittal")
# The documented views: directions of slices, rows and columns, in LPS.
VIEWS = {
    "axial": {"slices": (0, 0, 1), "rows": (0, 1, 0), "columns": (1, 0, 0)},
    "coronal": {"slices": (0, 1, 0), "rows": (0, 0, -1), "columns": (1, 0, 0)},
    "sagittal": {"slices": (1, 0, 0), "rows": (0, 0, -1), "columns": (0, 1, 0)},
}
SPACING = (0.9, 1.4, 3.1)


def grid_on(array, spacing=(1, 1, 1), size=(8, 8), spacing_mm=(1, 1), axis="axial"):
    return SliceGrid(size, spacing_mm, array.shape, spacing, axis)


def identity(values):
    return values


def image_slices(array, grid, scale=identity):
    return grid.image_slices(volume(array, grid.volume_spacing_mm), scale)


def voxel_of_pixels(grid):
    """Voxel indices `[3, slices, rows, columns]` of all pixels, from the documented views."""
    view = {name: np.array(step, float) for name, step in VIEWS[grid.axis].items()}
    middle = (np.array(grid.volume_shape) - 1) / 2
    slices, rows, columns = (
        np.arange(count) - (count - 1) / 2 for count in (grid.num_slices, *grid.size)
    )
    millimetres = (
        np.multiply.outer(grid.pixel_mm[0] * rows, view["rows"])[:, None]
        + np.multiply.outer(grid.pixel_mm[1] * columns, view["columns"])[None]
    )
    along = np.multiply.outer(slices, view["slices"])
    voxels = along[:, None, None] + millimetres / grid.volume_spacing_mm + middle
    return np.moveaxis(voxels, -1, 0)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("size, spacing_mm", [((12, 9), (1.3, 0.7)), ((31, 40), (0.8, 0.83))])
def test_pixels_equal_scipy_at_their_position(axis, size, spacing_mm):
    array = RNG.normal(size=[11, 14, 9]).astype(np.float32)
    grid = grid_on(array, SPACING, size, spacing_mm, axis)
    voxels = voxel_of_pixels(grid)
    side = np.array(array.shape)[:, None, None, None]
    inside = np.all((voxels >= -0.5) & (voxels <= side - 0.5), axis=0)
    expected = np.where(inside, ndimage.map_coordinates(array, voxels, order=1, mode="nearest"), -1)
    np.testing.assert_allclose(image_slices(array, grid), expected, atol=1e-5)
    ids = RNG.integers(1, 200, array.shape).astype(np.uint8)
    nearest = ndimage.map_coordinates(ids, voxels, order=0, mode="nearest")
    found = grid.label_slices(ids)
    np.testing.assert_array_equal(found == 0, ~inside)
    clear = inside & np.all(
        np.abs(voxels % 1 - 0.5) > 1e-3, axis=0
    )  # halves may be rounded either way
    np.testing.assert_array_equal(found[clear], nearest[clear])
    assert np.mean(clear) > 0.4 * np.mean(inside)
    assert found.dtype == np.uint8


@pytest.mark.parametrize("axis", AXES)
def test_slices_have_the_documented_orientation_in_world_millimetres(axis):
    shape = (10, 12, 8)
    affine = lps_affine(SPACING, (40, -30, 55))
    indices = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    world = nib.affines.apply_affine(affine, indices) * [-1, -1, 1]  # left, posterior, superior
    grid = grid_on(world[..., 0], SPACING, (6, 5), (1.0, 0.7), axis)
    shown = np.stack([image_slices(world[..., i], grid) for i in range(3)], axis=-1)
    steps = {
        "slices": np.diff(shown, axis=0) / np.array(SPACING)[np.nonzero(VIEWS[axis]["slices"])],
        "rows": np.diff(shown, axis=1) / 1.0,
        "columns": np.diff(shown, axis=2) / 0.7,
    }
    for name, step in steps.items():
        expected = np.broadcast_to(VIEWS[axis][name], step.shape)
        np.testing.assert_allclose(step, expected, atol=1e-4, err_msg=name)
    middle = world.reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(shown.reshape(-1, 3).mean(axis=0), middle, atol=1e-3)


def test_the_first_slice_is_the_most_inferior_anterior_or_right():
    array = np.arange(24).reshape(2, 3, 4)  # increases to the left, posterior and superior
    axial, coronal, sagittal = (grid_on(array, axis=axis).upright(array) for axis in AXES)
    np.testing.assert_array_equal(axial[0], array[:, :, 0].T)
    np.testing.assert_array_equal(coronal[0], array[:, 0, ::-1].T)
    np.testing.assert_array_equal(sagittal[0], array[0, :, ::-1].T)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("size", [(6, 7), (7, 6), (1, 20), (20, 1), (5, 5), (16, 16), (17, 17)])
@pytest.mark.parametrize("shape", [(6, 7, 8), (7, 8, 7), (1, 1, 1), (5, 6, 16)])
def test_native_pixels_are_padded_and_cropped_by_whole_pixels(axis, size, shape):
    array = RNG.integers(1, 30_000, shape).astype(np.int16)
    grid = grid_on(array, SPACING, size, None, axis)
    expected = grid.upright(array)
    for side, target in enumerate(size, start=1):
        before = (target - expected.shape[side] + 1) // 2  # the odd pixel is added first
        pads = [(0, 0)] * 3
        pads[side] = max(0, before), max(0, target - expected.shape[side] - before)
        cut = max(0, (expected.shape[side] - target) // 2)  # and removed last
        kept = slice(cut, cut + target)
        index = tuple(kept if axis_ == side else slice(None) for axis_ in range(3))
        expected = np.pad(expected, pads)[index]
    np.testing.assert_array_equal(grid.label_slices(array), expected)
    image = image_slices(array, grid)
    np.testing.assert_array_equal(image, np.where(expected == 0, -1, expected))


@pytest.mark.parametrize("axis", AXES)
def test_native_pixels_keep_the_volumes_spacing(axis):
    grid = SliceGrid((4, 4), None, (5, 6, 7), SPACING, axis)
    directions = (np.nonzero(VIEWS[axis][name])[0][0] for name in ("rows", "columns"))
    assert grid.pixel_mm == grid.voxel_mm == tuple(SPACING[each] for each in directions)
    assert grid.num_slices == (5, 6, 7)[np.nonzero(VIEWS[axis]["slices"])[0][0]]


@pytest.mark.parametrize("field_of_view_mm", [None, (64.0, 96.0)])
def test_the_grid_of_a_configuration(field_of_view_mm):
    data = DataConfig.model_validate(
        {
            "classes": [{"id": i, "name": str(i), "colour": (i, i, i)} for i in (0, 1)],
            "subjects": [{"subject": "a", "split": "train", "image": "a.nii"}],
            "image_size": (32, 64),
            "field_of_view_mm": field_of_view_mm,
            "axis": "coronal",
        }
    )
    grid = SliceGrid.of(Grid.of(volume(np.zeros([3, 4, 5]), SPACING)), data)
    assert (grid.size, grid.axis, grid.volume_shape) == ((32, 64), "coronal", (3, 4, 5))
    np.testing.assert_allclose(grid.volume_spacing_mm, SPACING)
    assert grid.spacing_mm == (None if field_of_view_mm is None else (2.0, 1.5))


def test_a_larger_grid_pads_and_a_smaller_one_crops_around_the_centre():
    array = np.arange(1, 17).reshape(4, 4, 1)
    padded = grid_on(array, size=(6, 6)).label_slices(array)[0]
    np.testing.assert_array_equal(padded[1:5, 1:5], array[..., 0].T)
    assert padded.sum() == array.sum()
    cropped = grid_on(array, size=(2, 2)).label_slices(array)[0]
    np.testing.assert_array_equal(cropped, array[1:3, 1:3, 0].T)


def test_images_are_linear_between_voxels_and_air_outside():
    array = np.array([0.0, 1.0], np.float32).reshape(2, 1, 1)
    slices = image_slices(array, grid_on(array, (2, 1, 1), (3, 6)))
    np.testing.assert_allclose(slices[0, 1], [-1, 0, 0.25, 0.75, 1, -1])
    np.testing.assert_array_equal(slices[0, [0, 2]], -1)


@pytest.mark.parametrize("axis", AXES)
def test_whole_slices_are_scaled_in_order_before_sampling(axis):
    array = RNG.integers(-500, 500, [40, 41, 42]).astype(np.int16)
    scaled_volume = Volume(array, lps_affine(), volume(array).path, -0.5, 7.0)
    grid = grid_on(array, size=(9, 9), spacing_mm=(1.1, 1.1), axis=axis)
    seen = []

    def scale(values):
        seen.append(values.copy())
        return values / 1000

    slices = grid.image_slices(scaled_volume, scale)
    whole = np.concatenate(seen)
    assert whole.dtype == np.float32
    assert max(map(len, seen)) <= 16
    np.testing.assert_array_equal(whole, grid.upright(array) * np.float32(-0.5) + np.float32(7))
    expected = image_slices((array * -0.5 + 7).astype(np.float32) / 1000, grid)
    np.testing.assert_allclose(slices, expected, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 5)] * 3),
    size=st.tuples(*[st.integers(1, 12)] * 2),
    spacing_mm=st.none() | st.tuples(*[st.floats(0.3, 5)] * 2),
    axis=st.sampled_from(AXES),
    ids=st.lists(st.integers(1, 255), min_size=1, max_size=5),
)
def test_sampling_creates_no_new_class(shape, spacing, size, spacing_mm, axis, ids):
    array = RNG.choice(ids, shape).astype(np.uint8)
    grid = grid_on(array, spacing, size, spacing_mm, axis)
    slices = grid.label_slices(array)
    assert slices.shape == (grid.num_slices, *size)
    assert set(np.unique(slices)) <= {0, *ids}


def test_arrays_of_another_shape_raise_an_error():
    grid = SliceGrid((2, 2), (1, 1), (4, 4, 3), (1, 1, 1))
    with pytest.raises(ValueError, match=r"slices must have shape \(3, 2, 2\)"):
        grid.from_slices(np.zeros([2, 2, 2]))
    with pytest.raises(ValueError, match=r"expected shape \(4, 4, 3\)"):
        grid.label_slices(np.zeros([4, 4, 2]))


@pytest.mark.parametrize(
    "corner, size",
    [((50, 50), (16, 16)), ((0, 50), (16, 104)), ((50, 99), (104, 16)), ((41, 58), (24, 24))],
)
def test_the_covering_grid_grows_by_strides_to_include_all_foreground(corner, size):
    array = np.zeros([100, 100, 2], np.uint8)
    array[corner[0], corner[1], 1] = 3
    grid = SliceGrid.covering(volume(array), (16, 16), (1.0, 1.0), stride=8)
    assert grid.size == size
    assert 3 in grid.label_slices(array)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 30)] * 3),
    voxel=st.tuples(*[st.floats(0, 0.999)] * 3),
    pixel=st.none() | st.tuples(*[st.floats(0.3, 2)] * 2),
    axis=st.sampled_from(AXES),
    stride=st.sampled_from([1, 4, 6]),
)
def test_the_covering_grid_includes_any_voxel_for_any_axis(shape, voxel, pixel, axis, stride):
    array = np.zeros(shape, np.uint8)
    place = tuple(int(fraction * side) for fraction, side in zip(voxel, shape, strict=True))
    array[place] = 9
    grid = SliceGrid.covering(volume(array, SPACING), (8, 12), pixel, stride, axis)
    height, width = grid.size
    assert (height - 8) % stride == (width - 12) % stride == 0
    assert min(height - 8, width - 12) >= 0
    back = grid.from_slices(np.zeros([grid.num_slices, *grid.size], np.float32), fill=7)
    assert back[place] == 0
    if pixel is None:
        assert 9 in grid.label_slices(array)


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_values_are_restored_after_interpolation(axis):
    grid = SliceGrid((40, 40), (1.5, 1.5), (37, 18, 35), (2.0, 2.0, 2.0), axis)
    slices = np.random.default_rng(0).uniform(-1, 1, [grid.num_slices, 40, 40]).astype(np.float32)
    restored = grid.from_slices(slices, restore=lambda values: values**3)
    np.testing.assert_array_equal(restored, grid.from_slices(slices) ** 3)


def test_the_covering_grid_of_an_empty_map_has_the_training_size():
    grid = SliceGrid.covering(volume(np.zeros([9, 9, 2])), (16, 24), (1.0, 2.0), stride=8)
    assert grid.size == (16, 24)


@pytest.mark.parametrize("spacing", [None, (2.0, 2.0)])
@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_a_grid_can_be_centred_on_a_body(axis, spacing):
    """A body off the centre of its volume is in the middle of the slices, and comes back."""
    label_map = np.zeros([40, 50, 44], np.uint8)
    label_map[26:36, 4:16, 28:40] = 1
    grid = SliceGrid((16, 16), spacing, label_map.shape, (2.0, 2.0, 2.0), axis)
    assert np.count_nonzero(grid.label_slices(label_map)) < label_map.sum()
    centred = grid.centred_on(grid.upright(label_map))
    slices = centred.label_slices(label_map)
    assert slices.sum() == label_map.sum()
    for axis_ in (1, 2):
        found = np.flatnonzero(slices.any(axis=(0, 3 - axis_)))
        assert abs((found[0] + found[-1]) / 2 - 7.5) <= 0.5
    back = centred.from_slices(slices.astype(np.float32), fill=0.0)
    np.testing.assert_array_equal(back, label_map)
    assert grid.centred_on(np.zeros(grid.upright(label_map).shape)) == grid

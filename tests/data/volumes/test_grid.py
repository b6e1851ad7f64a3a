import numpy as np
import pytest

from medusis_tf.data.volumes.grid import (
    Crop,
    Grid,
    crop_to_overlap,
    same_grid,
)
from medusis_tf.errors import UserError
from tests.data.volume_files import lps_affine, rotated, volume

SPACING = (0.977, 0.977, 3.27)


def block(shape, first, noise=(0.0, 0.0, 0.0), name="v.nii.gz"):
    """A volume with the coordinates of a world grid as values, from index `first` on."""
    x, y, z = (np.arange(start, start + side) for start, side in zip(first, shape, strict=True))
    values = x[:, None, None] * 10_000 + y[None, :, None] * 100 + z
    index = np.array(first) + noise
    origin = np.array([-1, -1, 1]) * SPACING * index
    return volume(values, SPACING, origin, name)


def grid(shape, spacing=SPACING, origin=(0, 0, 0), name="v.nii.gz"):
    return Grid.of(volume(np.zeros(shape), spacing, origin, name))


def rotated_grid(degrees, shape=(3, 4, 5)):
    """A grid rotated around the z axis."""
    affine = rotated(lps_affine(SPACING), np.radians(degrees))
    return Grid(shape, affine, volume(np.zeros(shape)).path)


def overlapping(a, b):
    return crop_to_overlap(Grid.of(a), Grid.of(b))


@pytest.mark.parametrize(
    "shape, first",
    [
        ((4, 5, 6), (2, 1, 0)),
        ((20, 3, 2), (-3, 4, 5)),
        ((10, 9, 8), (0, 0, 0)),
        ((30, 30, 30), (-9, -8, -7)),
        ((10, 9, 8), (9, -8, 7)),
        ((1, 1, 1), (9, 8, 7)),
    ],
)
def test_the_overlap_has_the_common_voxels(shape, first):
    a, b = block((10, 9, 8), (0, 0, 0)), block(shape, first, (0.004, -0.01, 0.0))
    crop_a, crop_b = overlapping(a, b)
    cropped_a, cropped_b = crop_a.of(a), crop_b.of(b)
    np.testing.assert_array_equal(cropped_a.array, cropped_b.array)
    np.testing.assert_array_equal(
        cropped_a.array, np.intersect1d(a.array, b.array).reshape(cropped_a.shape)
    )
    np.testing.assert_allclose(cropped_a.affine, cropped_b.affine, atol=0.02)


def test_cropping_keeps_the_position_of_voxels():
    a, b = block((10, 9, 8), (0, 0, 0)), block((4, 4, 4), (2, 1, 3))
    crop, other = overlapping(a, b)
    assert other == Crop.whole((4, 4, 4))
    assert (crop.start, crop.stop) == ((2, 1, 3), (6, 5, 7))
    np.testing.assert_allclose(crop.of(a).affine, b.affine, atol=1e-9)
    assert same_grid(crop.of_grid(Grid.of(a)), Grid.of(b))
    assert same_grid(Grid.of(crop.of(a)), Grid.of(b))
    assert np.shares_memory(crop.of(a).array, a.array)


def test_rotated_volumes_overlap_along_their_own_axes():
    a = rotated_grid(30, (10, 9, 8))
    affine = a.affine.copy()
    affine[:3, 3] = (a.affine @ [3, -2, 1, 1])[:3]
    crop, other = crop_to_overlap(a, Grid((4, 6, 20), affine, a.path))
    assert (crop.start, crop.stop) == ((3, 0, 1), (7, 4, 8))
    assert (other.start, other.stop) == ((0, 2, 0), (4, 6, 7))


def test_a_grid_has_the_shape_path_and_axes_of_its_volume():
    made = block((3, 4, 5), (1, 2, 3), name="a.nii")
    on = Grid.of(made)
    assert (on.shape, on.path, on.axes) == ((3, 4, 5), made.path, "LPS")
    np.testing.assert_allclose(on.spacing_mm, SPACING)
    np.testing.assert_allclose(rotated_grid(20).spacing_mm, SPACING)


def test_equal_grids():
    assert same_grid(grid((3, 4, 5)), Grid.of(block((3, 4, 5), (0, 0, 0), (0.01, 0, 0))))
    assert same_grid(rotated_grid(30), rotated_grid(30))


@pytest.mark.parametrize(
    "other",
    [
        grid((3, 4, 6)),
        Grid.of(block((3, 4, 5), (1, 0, 0))),
        Grid.of(block((3, 4, 5), (0, 0, 0), (0.3, 0, 0))),
        grid((3, 4, 5), (1, 1, 3.27)),
        rotated_grid(3),
        rotated_grid(180),
    ],
)
def test_other_grids_differ(other):
    assert not same_grid(grid((3, 4, 5)), other)
    assert not same_grid(other, grid((3, 4, 5)))


@pytest.mark.parametrize("voxels, same", [(10, True), (10_000, False)])
def test_small_differences_in_spacing_depend_on_the_number_of_voxels(voxels, same):
    step = 1 + 1e-5
    a, b = grid((2, 2, 2), (1, 1, 1)), grid((2, 2, 2), (1, 1, step))
    a, b = (Grid((2, 2, voxels), one.affine, one.path) for one in (a, b))
    assert same_grid(a, b) == same


@pytest.mark.parametrize(
    "other, why, shift",
    [
        (grid((3, 4, 5), origin=(0.3, 0, 0), name="b.nii"), "differ by a fraction", [0.3, 0, 0]),
        (grid((3, 4, 5), (1, 1, 3.27), name="b.nii"), "spacing or direction differ", [0, 0, 0]),
        (grid((3, 4, 5), origin=(0, 97.7, 0), name="b.nii"), "do not overlap", [0, 97.7, 0]),
        (grid((3, 4, 5), origin=(0, 0, 16.35), name="b.nii"), "do not overlap", [0, 0, 16.35]),
        (grid((3, 4, 5), origin=(9.77e8, 0, 0), name="b.nii"), "do not overlap", [9.77e8, 0, 0]),
        (grid((3, 4, 5), origin=(-1e30, 0, 0), name="b.nii"), "do not overlap", [-1e30, 0, 0]),
        (rotated_grid(90), "spacing or direction differ", [0, 0, 0]),
    ],
)
def test_grids_that_need_resampling_raise_an_error(other, why, shift):
    with pytest.raises(UserError, match=why) as caught:
        crop_to_overlap(grid((3, 4, 5), name="a.nii"), other)
    message = str(caught.value)
    for text in ("a.nii", str(other.path), "(3, 4, 5)", "[0.977, 0.977, 3.27] mm"):
        assert text in message
    assert f"shift between origins {[float(mm) for mm in shift]} mm" in message
    assert "set data.pair_by=voxel" in message


def test_volumes_of_different_shapes_cannot_be_paired_by_voxel():
    with pytest.raises(UserError, match="do not overlap") as caught:
        crop_to_overlap(grid((3, 4, 5)), grid((3, 4, 6), origin=(977, 0, 0)))
    assert "pair_by" not in str(caught.value)
    assert str(caught.value).endswith("Resample one of them onto the grid of the other.")

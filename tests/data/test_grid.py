import numpy as np
import pytest

from medusis_tf.data.grid import crop_to_overlap, same_grid
from medusis_tf.errors import UserError
from tests.data.volume_files import volume

SPACING = (0.977, 0.977, 3.27)


def block(shape, first, noise=(0.0, 0.0, 0.0), name="v.nii.gz"):
    """A volume whose values are the coordinates of one world grid, from index `first` on."""
    x, y, z = (np.arange(start, start + side) for start, side in zip(first, shape, strict=True))
    values = x[:, None, None] * 10_000 + y[None, :, None] * 100 + z
    index = np.array(first) + noise
    origin = np.array([-1, -1, 1]) * SPACING * index
    return volume(values, SPACING, origin, name)


@pytest.mark.parametrize(
    "shape, first", [((4, 5, 6), (2, 1, 0)), ((20, 3, 2), (-3, 4, 5)), ((10, 9, 8), (0, 0, 0))]
)
def test_the_overlap_is_found_exactly(shape, first):
    a, b = block((10, 9, 8), (0, 0, 0)), block(shape, first, (0.004, -0.01, 0.0))
    cropped_a, cropped_b = crop_to_overlap(a, b)
    np.testing.assert_array_equal(cropped_a.array, cropped_b.array)
    np.testing.assert_allclose(cropped_a.affine, cropped_b.affine, atol=0.02)
    assert cropped_a.array.size > 0


def test_cropping_keeps_voxels_where_they_were():
    a, b = block((10, 9, 8), (0, 0, 0)), block((4, 4, 4), (2, 1, 3))
    cropped, _ = crop_to_overlap(a, b)
    np.testing.assert_allclose(cropped.affine, b.affine, atol=1e-9)


def test_equal_grids():
    assert same_grid(block((3, 4, 5), (0, 0, 0)), block((3, 4, 5), (0, 0, 0), (0.01, 0, 0)))


@pytest.mark.parametrize(
    "other",
    [
        block((3, 4, 6), (0, 0, 0)),
        block((3, 4, 5), (1, 0, 0)),
        block((3, 4, 5), (0, 0, 0), (0.3, 0, 0)),
        volume(np.zeros([3, 4, 5]), (1, 1, 3.27)),
    ],
)
def test_other_grids_differ(other):
    assert not same_grid(block((3, 4, 5), (0, 0, 0)), other)


@pytest.mark.parametrize(
    "other, why",
    [
        (block((3, 4, 5), (0, 0, 0), (0.3, 0, 0), "b.nii"), "fraction of a voxel"),
        (volume(np.zeros([3, 4, 5]), (1, 1, 3.27), name="b.nii"), "spacing or direction"),
        (block((3, 4, 5), (50, 0, 0), name="b.nii"), "do not overlap"),
    ],
)
def test_grids_that_need_resampling_are_refused(other, why):
    with pytest.raises(UserError, match=why) as caught:
        crop_to_overlap(block((3, 4, 5), (0, 0, 0), name="a.nii"), other)
    for part in ("a.nii", "b.nii", "(3, 4, 5)", "0.977", "mm"):
        assert part in str(caught.value)

"""Volumes on another grid, compared with SimpleITK's and with closed forms."""

from pathlib import Path

import numpy as np
import pytest

from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.regridding import onto_grid
from medusis_tf.data.volumes.volume import Volume
from medusis_tf.errors import UserError

RANDOM = np.random.default_rng(3)


def turned(degrees, spacing, origin):
    """LPS affine of voxels that are turned around z."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[-c, s, 0], [-s, -c, 0], [0, 0, 1]]) * spacing
    affine[:3, 3] = origin
    return affine


def volume_of(array, affine, **changes):
    return Volume(array, affine, Path("other.nii.gz"), **changes)


def grid_of(shape, affine):
    return Grid(shape, affine, Path("labels.nii.gz"))


def centres(shape, affine):
    indices = np.moveaxis(np.indices(shape), 0, -1)
    return indices @ affine[:3, :3].T + affine[:3, 3]


def test_a_linear_field_is_exact_on_an_oblique_grid():
    affine = turned(10, (1.3, 0.9, 2.0), (40, 40, -40))
    slope = np.array([0.5, -1.5, 2.0])
    values = (centres((60, 80, 40), affine) @ slope).astype(np.float32)
    grid = grid_of((12, 10, 8), turned(-5, (2.0, 2.5, 3.0), (15, 15, -20)))
    found = onto_grid(volume_of(values, affine), grid, is_label_map=False)
    np.testing.assert_allclose(found.array, centres(grid.shape, grid.affine) @ slope, atol=1e-3)
    np.testing.assert_array_equal(found.affine, grid.affine)
    assert found.warnings == (
        "its 60 x 80 x 40 voxels of 1.3 x 0.9 x 2 mm (axes LPS) are resampled onto the "
        "12 x 10 x 8 of 2 x 2.5 x 3 mm of labels.nii.gz",
    )


def test_ids_and_intensities_equal_those_of_simpleitk():
    itk = pytest.importorskip("SimpleITK")
    affine = turned(0, (1.0, 1.0, 1.0), (30, 30, -30))
    label_map = RANDOM.integers(0, 5, (50, 44, 40)).astype(np.uint8)
    grid = grid_of((15, 14, 9), turned(7, (2.1, 2.1, 3.3), (20.3, 18.1, -25.2)))

    def image(array, affine):
        made = itk.GetImageFromArray(array.transpose())
        to_lps = np.diag([-1.0, -1.0, 1.0])
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        made.SetSpacing(spacing.tolist())
        made.SetDirection((to_lps @ affine[:3, :3] / spacing).ravel().tolist())
        made.SetOrigin((to_lps @ affine[:3, 3]).tolist())
        return made

    target = image(np.zeros(grid.shape, np.uint8), grid.affine)
    for array, method in [
        (label_map, itk.sitkNearestNeighbor),
        (label_map.astype(np.float32), itk.sitkLinear),
    ]:
        source = image(array, affine)
        expected = itk.GetArrayFromImage(itk.Resample(source, target, itk.Transform(), method))
        found = onto_grid(volume_of(array, affine), grid, is_label_map=array.dtype == np.uint8)
        assert found.array.dtype == array.dtype
        np.testing.assert_allclose(found.array, expected.transpose(), atol=1e-3)


def test_scaled_integers_keep_their_scale():
    stored = np.arange(8, dtype=np.int16).reshape(8, 1, 1)
    affine = turned(0, (1, 1, 1), (0, 0, 0))
    grid = grid_of((4, 1, 1), turned(0, (2, 1, 1), (-0.5, 0, 0)))
    volume = volume_of(stored, affine, slope=0.5, intercept=-3.0)
    found = onto_grid(volume, grid, is_label_map=False)
    np.testing.assert_allclose(found.intensities().ravel(), np.array([0.5, 2.5, 4.5, 6.5]) / 2 - 3)


def test_ties_between_two_ids_are_broken_alike_everywhere():
    fine = np.repeat(np.arange(100, dtype=np.int32), 2).reshape(200, 1, 1)
    fine = fine * 2 + np.tile([0, 1], 100).reshape(200, 1, 1)
    affine = turned(0, (1.25, 1, 1), (np.float32(37.3), 0, 0))
    grid = grid_of((100, 1, 1), turned(0, (2.5, 1, 1), (np.float32(37.3) - 0.625, 0, 0)))
    found = onto_grid(volume_of(fine, affine), grid, is_label_map=True)
    assert len(set((found.array % 2).ravel().tolist())) == 1


def test_rounded_fields_of_view_still_fit():
    affine = turned(0, (3, 3, 3), (0, 0, 0))
    values = RANDOM.normal(size=(10, 10, 10)).astype(np.float32)
    # 10 voxels of 3 mm as 28 of 1.07 mm, from the same first voxel.
    grid = grid_of((29, 29, 29), turned(0, (1.07, 1.07, 1.07), (0, 0, 0)))
    found = onto_grid(volume_of(values, affine), grid, is_label_map=False)
    np.testing.assert_allclose(found.array[-1, -1, -1], values[-1, -1, -1], rtol=1e-6)


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ((500, 0, 0), r"other.nii.gz does not overlap labels.nii.gz: .* lies between"),
        ((0, 0, 5), r"shows only a part of .*: up to \[0.0, 0.0, 4.5\] mm are missing"),
    ],
)
def test_what_is_not_covered_is_refused(origin, message):
    volume = volume_of(np.zeros((8, 8, 8)), turned(0, (1, 1, 1), origin))
    grid = grid_of((4, 4, 4), turned(0, (2, 2, 2), (-0.5, -0.5, 0)))
    with pytest.raises(UserError, match=message):
        onto_grid(volume, grid, is_label_map=False)

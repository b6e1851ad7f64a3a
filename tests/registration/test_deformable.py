"""Positions, warps and folds, against arithmetic."""

import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from medusis_tf.data.volumes.grid import Grid
from medusis_tf.data.volumes.volume import to_lps
from medusis_tf.errors import UserError
from medusis_tf.registration.deformable import (
    FINE,
    coverage,
    from_itk,
    identity,
    import_simpleitk,
    jacobian,
    register,
    to_itk,
    warp,
)
from tests.registration.phantom import MARGIN, SHAPE, affine, displacement, tissue


def grid(shape, spacing=(2.0, 3.0, 4.0), origin=(10.0, 20.0, 30.0)):
    """A grid in LPS axis order: x and y run against those of RAS+."""
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = origin
    return Grid(shape, affine, Path("made.nii.gz"))


def test_a_voxel_keeps_its_position_in_space():
    array = np.random.default_rng(0).normal(size=(4, 5, 6)).astype(np.float32)
    image = to_itk(array, grid((4, 5, 6)))
    # ITK counts x and y toward left and posterior, NIfTI toward right and anterior.
    ras = grid((4, 5, 6)).affine @ [1, 2, 3, 1]
    expected = [-ras[0], -ras[1], ras[2]]
    np.testing.assert_allclose(image.TransformIndexToPhysicalPoint((1, 2, 3)), expected)
    assert image[1, 2, 3] == array[1, 2, 3]
    np.testing.assert_array_equal(from_itk(image), array)


def test_the_identity_onto_a_cropped_grid_is_the_crop():
    array = np.random.default_rng(1).normal(size=(8, 7, 6)).astype(np.float32)
    whole = grid((8, 7, 6))
    affine = whole.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [2, 1, 3]
    part = Grid((4, 5, 3), affine, Path("part.nii.gz"))
    np.testing.assert_allclose(
        warp(array, whole, part, identity()), array[2:6, 1:6, 3:6], atol=1e-5
    )
    labels = (array > 0).astype(np.uint8)
    found = warp(labels, whole, part, identity(), is_label_map=True)
    np.testing.assert_array_equal(found, labels[2:6, 1:6, 3:6])
    assert found.dtype == np.uint8


def test_beyond_the_volume_its_border_continues_and_is_not_covered():
    small, large = grid((4, 4, 4)), grid((6, 4, 4))
    array = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((4, 4, 4), np.float32)
    found = warp(array, small, large, identity())
    np.testing.assert_allclose(found[:, 0, 0], [0, 1, 2, 3, 3, 3], atol=1e-5)
    covered = coverage(small, large, identity())
    np.testing.assert_array_equal(covered[:, 1, 1], [True] * 4 + [False] * 2)


def test_the_jacobian_is_the_change_of_volume():
    transform = SimpleITK.ScaleTransform(3, (0.5, 0.5, 0.5))
    found = jacobian(transform, grid((6, 6, 6)))[1:-1, 1:-1, 1:-1]
    np.testing.assert_allclose(found, 0.125, rtol=1e-6)
    assert (jacobian(identity(), grid((6, 6, 6))) == 1).all()


def test_a_mirror_folds():
    transform = SimpleITK.ScaleTransform(3, (-1.0, 1.0, 1.0))
    np.testing.assert_allclose(jacobian(transform, grid((6, 6, 6)))[1:-1], -1, rtol=1e-6)


def test_a_known_deformation_is_found():
    """The centre of the CT was moved by 8 and -4 mm."""
    large = tuple(n + 2 * m for n, m in zip(SHAPE, MARGIN, strict=True))
    _, mr_affine = to_lps(np.empty(SHAPE, np.uint8), affine())
    _, ct_affine = to_lps(np.empty(large, np.uint8), affine(tuple(-m for m in MARGIN)))
    grids = Grid(SHAPE, mr_affine, Path("mr.nii.gz")), Grid(large, ct_affine, Path("ct.nii.gz"))
    mr, ct = tissue(1, SHAPE, moved=False), tissue(0, large, moved=True)
    transform = register(mr, grids[0], ct, grids[1], FINE, seed=0)
    image = to_itk(mr, grids[0])
    for x, y in ((32, 30), (24, 30), (32, 22)):
        there = np.array(image.TransformContinuousIndexToPhysicalPoint((x, y, 8.0)))
        found = np.array(transform.TransformPoint(there))
        # The position in the CT that the phantom moves to this position.
        position = np.array([(x - 31.5) * 2.5, (y - 29.5) * 2.5])
        expected = position.copy()
        for _ in range(20):
            expected = position - displacement(*expected)
        np.testing.assert_allclose((found - there)[:2], expected - position, atol=2.5)  # a voxel
    assert jacobian(transform, grids[0]).min() > 0.5


def test_without_simpleitk_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(UserError, match=r"medusis_tf\[registration\]"):
        import_simpleitk()

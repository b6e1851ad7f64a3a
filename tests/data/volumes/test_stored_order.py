"""Volumes matched voxel by voxel, as they are stored."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.grid import Grid, same_grid
from medusis_tf.data.volumes.nifti import read_grid, read_volume
from medusis_tf.data.volumes.stored_order import common_header, turned_grid, turned_like
from medusis_tf.data.volumes.volume import Volume, from_lps
from medusis_tf.errors import UserError
from tests.data.volume_files import AXIS_ORDERS, lps_affine, write_nifti

READING = ReadingConfig()
SPACING = (2.0, 3.0, 4.0)


def stored(path):
    return np.asarray(nib.load(path).dataobj)


def with_header_of(path: Path, array: np.ndarray, axes: str) -> Path:
    """Stored voxels under a header with these axes, 1 mm, whatever the array shows."""
    affine = np.zeros([4, 4])
    affine[3, 3] = 1
    for index, letter in enumerate(axes):
        axis = next(i for i, pair in enumerate(("LR", "PA", "IS")) if letter in pair)
        affine[axis, index] = 1 if letter in "RAS" else -1
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


@pytest.mark.parametrize("axes", AXIS_ORDERS)
def test_equal_stored_voxels_match_whatever_the_headers_say(axes, tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    right = write_nifti(tmp_path / "right.nii", array, lps_affine(SPACING, (5, 6, 7)), "PIR")
    wrong = with_header_of(tmp_path / "wrong.nii", stored(right), axes)
    reference = read_grid(right)
    turned = turned_like(read_volume(wrong), reference)
    np.testing.assert_array_equal(turned.array, array)
    np.testing.assert_array_equal(turned.affine, reference.affine)
    assert turned.axes == "PIR"
    np.testing.assert_array_equal(from_lps(turned.array, nib.load(right).affine), stored(right))
    assert same_grid(turned_grid(read_grid(wrong), reference), reference)
    assert len(turned.warnings) == 1 and f"axes {axes}" in turned.warnings[0]
    assert "axes PIR, voxels of 2 x 3 x 4 mm" in turned.warnings[0]


def test_equal_headers_but_for_the_position_cause_no_warning(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    a = write_nifti(tmp_path / "a.nii", array, lps_affine(SPACING), "RAS")
    b = write_nifti(tmp_path / "b.nii", array, lps_affine(SPACING, (0.7, 0, 0)), "RAS")
    turned = turned_like(read_volume(a), read_grid(b))
    assert turned.warnings == () and turned.affine[0, 3] == pytest.approx(0.7)
    np.testing.assert_array_equal(turned.array, array)


def test_other_stored_shapes_are_refused(tmp_path):
    a = write_nifti(tmp_path / "a.nii", np.zeros([2, 3, 4], np.uint8), axes="RAS")
    b = write_nifti(tmp_path / "b.nii", np.zeros([2, 3, 4], np.uint8), axes="ARS")
    message = r"the same shape.*b\.nii: \(2, 3, 4\), axes ARS.*a\.nii: \(2, 3, 4\), axes RAS"
    with pytest.raises(UserError, match=message):
        turned_like(read_volume(a), read_grid(b))


def test_volumes_without_a_stored_order_match_only_with_equal_axes(tmp_path):
    series = Volume(np.zeros([2, 2, 2]), lps_affine(), Path("ct"), has_stored_order=False)
    same = write_nifti(tmp_path / "same.nii", np.zeros([2, 2, 2], np.uint8), axes="LPS")
    other = write_nifti(tmp_path / "other.nii", np.zeros([2, 2, 2], np.uint8), axes="LAS")
    assert turned_like(series, read_grid(same)).warnings == ()
    with pytest.raises(UserError, match=r"cannot match ct \(LPS\) with .*other\.nii \(LAS\)"):
        turned_like(series, read_grid(other))
    with pytest.raises(UserError, match="no order of voxels of their own"):
        turned_like(read_volume(other), Grid.of(series))


def test_a_placeholder_header_turns_nothing_if_there_is_another():
    def grid(affine, name):
        return Grid((2, 2, 2), affine, Path(name))

    bare, real = grid(np.eye(4), "bare"), grid(lps_affine(SPACING), "real")
    assert common_header([bare, real]).path.name == "real"
    assert common_header([real, bare]).path.name == "real"
    assert common_header([bare, grid(lps_affine(), "other")]).path.name == "bare"

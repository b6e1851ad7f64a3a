import nibabel as nib
import numpy as np
import pytest

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.reading import read_label_map, read_volume
from medusis_tf.errors import UserError
from tests.data.volume_files import edit_nifti, lps_affine, write_nifti


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_non_finite_voxels_raise_an_error_with_their_number(bad, name, tmp_path):
    array = np.zeros([3, 4, 5])
    array[0, 0, :2] = bad
    with pytest.raises(UserError, match=r"2 voxels that are NaN or infinite, of 60.*not_finite"):
        read_volume(write_nifti(tmp_path / name, array))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("slope, lowest", [(2.0, -10.0), (-2.0, 6.0)])
def test_non_finite_voxels_are_replaced_by_the_lowest_intensity(dtype, slope, lowest, tmp_path):
    array = np.full([3, 4, 5], 6.0, dtype)
    array[0, 0] = -10
    array[1, 0, :3] = [np.nan, np.inf, -np.inf]
    path = write_nifti(tmp_path / "a.nii", array)
    edit_nifti(path, scl_slope=slope, scl_inter=1)
    read = read_volume(path, ReadingConfig(not_finite="replace"))
    assert read.warnings == (
        f"3 of its 60 voxels are NaN or infinite: replaced by the lowest intensity, "
        f"{lowest * slope + 1:g}.",
    )
    expected = np.nan_to_num(array, nan=lowest, posinf=lowest, neginf=lowest) * slope + 1
    np.testing.assert_allclose(read.intensities(), expected)


def test_a_volume_without_finite_voxels_cannot_be_repaired(tmp_path):
    path = write_nifti(tmp_path / "a.nii", np.full([2, 2, 2], np.nan))
    with pytest.raises(UserError, match=r"a\.nii has no voxel with a finite value"):
        read_volume(path, ReadingConfig(not_finite="replace"))


@pytest.mark.parametrize("policy", ["error", "replace"])
@pytest.mark.parametrize("bad", [0.5, 2.01])
def test_soft_masks_are_not_label_maps(bad, policy, tmp_path):
    array = np.zeros([3, 4, 5])
    array[1, 1, 1] = bad
    path = write_nifti(tmp_path / "a.nii", array)
    with pytest.raises(UserError, match=r"not a label map: 1 of 60 voxels.*Threshold"):
        read_label_map(path, ReadingConfig(not_finite=policy))


@pytest.mark.parametrize("array", [np.full([2, 2, 2], 2.0**40), np.full([2, 2, 2], 2**40)])
def test_ids_beyond_32_bits_raise_an_error(array, tmp_path):
    nib.save(nib.Nifti1Image(array, lps_affine(), dtype=array.dtype), tmp_path / "a.nii")
    with pytest.raises(UserError, match="beyond 32 bits, such as 1099511627776"):
        read_label_map(tmp_path / "a.nii")


def test_label_117_stored_through_a_scale_factor_is_117(tmp_path):
    labels = np.arange(118.0).reshape(2, 59, 1)
    image = nib.Nifti1Image(labels, lps_affine())
    image.set_data_dtype(np.int16)  # nibabel stores slope 117/65535
    nib.save(image, tmp_path / "a.nii")
    assert 1e-7 < np.abs(nib.load(tmp_path / "a.nii").get_fdata() - labels).max() < 1e-3
    read = read_label_map(tmp_path / "a.nii")
    assert read.array.dtype == np.int16
    np.testing.assert_array_equal(np.sort(read.array, axis=None), np.arange(118))


@pytest.mark.parametrize("name", ["l.nii.gz", "l.mgz"])
def test_nan_around_labels_is_background_on_request(name, tmp_path):
    labels = np.array([0, 1, 5, np.nan, np.inf, 3], np.float32).reshape(3, 2, 1)
    kind = nib.MGHImage if name.endswith("mgz") else nib.Nifti1Image
    nib.save(kind(labels, np.diag([-1.0, -1, 1, 1])), tmp_path / name)
    with pytest.raises(UserError, match=r"2 of 6 voxels.*(nan|inf).*not_finite=replace"):
        read_label_map(tmp_path / name)
    volume = read_label_map(tmp_path / name, ReadingConfig(not_finite="replace"))
    expected = np.nan_to_num(labels, nan=0, posinf=0)
    np.testing.assert_array_equal(volume.array, expected)
    assert volume.warnings == ("2 of its 6 voxels are NaN or infinite: replaced by background.",)

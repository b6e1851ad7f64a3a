"""Every shared volume is read as by nibabel, or raises the expected error."""

import nibabel as nib
import numpy as np
import pytest
from nibabel import orientations

from medusis_tf.config.reading import ReadingConfig
from medusis_tf.data.volumes.reading import read_grid, read_label_map, read_volume
from medusis_tf.errors import UserError
from tests.data.dicom_files import write_series

LABEL_MARKS = ("mask", "_seg", "training_seg", "DLMUSE.", "example_seg", "tissue_types")
NOT_FINITE = "spinalcord_mr/mt/mtr.nii.gz"
SOFT = "spinalcord_mr/mt/mt1_gmseg.nii.gz"


@pytest.fixture(scope="module")
def names(shared_data):
    """Names of images and of label maps; one of many one-class masks and large head maps."""
    found = sorted(str(path.relative_to(shared_data)) for path in shared_data.rglob("*.nii.gz"))
    for many, one in (("masks_fast", "liver.nii.gz"), ("training_seg", "seg_01.nii.gz")):
        found = [name for name in found if many not in name or name.endswith(one)]
    images = [name for name in found if not any(mark in name for mark in LABEL_MARKS)]
    return images, [name for name in found if name not in images]


def in_lps(image: nib.Nifti1Image, array: np.ndarray) -> np.ndarray:
    """Reorient with nibabel, as an independent reference."""
    transform = orientations.ornt_transform(
        orientations.io_orientation(image.affine), orientations.axcodes2ornt("LPS")
    )
    moved = nib.Nifti1Image(array, image.affine, dtype=array.dtype).as_reoriented(transform)
    return np.asarray(moved.dataobj), moved.affine


def test_all_sources_are_present(names):
    images, label_maps = names
    assert len(images) >= 23 and len(label_maps) >= 30
    assert {name.split("/")[0] for name in images + label_maps} == {
        *("totalsegmentator", "sts_ct_mr", "ixi_t1_dlmuse", "synthseg_label_maps"),
        "spinalcord_mr",
    }


def test_intensities_and_affines_equal_nibabel(names, shared_data):
    for name in set(names[0]) - {NOT_FINITE}:
        read, grid = read_volume(shared_data / name), read_grid(shared_data / name)
        image = nib.load(shared_data / name)
        expected, affine = in_lps(image, image.get_fdata())
        # nibabel computes in float64; float32 keeps 24 bits.
        np.testing.assert_allclose(read.intensities(), expected, rtol=3e-7, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(read.affine, affine, atol=1e-9, err_msg=name)
        assert (grid.shape, grid.axes) == (read.shape, "".join(nib.aff2axcodes(image.affine)))
        assert read.warnings == (), name


def test_label_ids_equal_the_stored_ids(names, shared_data):
    for name in set(names[1]) - {SOFT}:
        read = read_label_map(shared_data / name)
        image = nib.load(shared_data / name)
        expected, affine = in_lps(image, np.asarray(image.dataobj))
        assert read.array.dtype.kind in "iu", name
        np.testing.assert_array_equal(read.array, expected, err_msg=name)
        np.testing.assert_allclose(read.affine, affine, atol=1e-9, err_msg=name)
        assert read.warnings == (), name


def test_all_one_class_masks_are_read(shared_data):
    masks = sorted((shared_data / "totalsegmentator" / "masks_fast").glob("*.nii.gz"))
    assert len(masks) == 117
    for path in masks:
        assert set(np.unique(read_label_map(path).array)) <= {0, 1}


def test_a_map_with_nan_raises_an_error_or_is_replaced(shared_data):
    with pytest.raises(UserError, match=r"mtr\.nii\.gz has \d+ voxels that are NaN or infinite"):
        read_volume(shared_data / NOT_FINITE)
    read = read_volume(shared_data / NOT_FINITE, ReadingConfig(not_finite="replace"))
    image = nib.load(shared_data / NOT_FINITE)
    expected, _ = in_lps(image, image.get_fdata())
    finite = np.isfinite(expected)
    np.testing.assert_allclose(read.array[finite], expected[finite], rtol=1e-6)
    assert np.all(read.array[~finite] == expected[finite].min().astype(np.float32))
    assert read.warnings[0].startswith(f"{np.count_nonzero(~finite)} of its 8000 voxels are NaN")


def test_a_soft_mask_is_not_a_label_map(shared_data):
    with pytest.raises(UserError, match=r"mt1_gmseg\.nii\.gz is not a label map: \d+ of 8000"):
        read_label_map(shared_data / SOFT)


@pytest.mark.parametrize(
    "name", ["totalsegmentator/example_ct_sm.nii.gz", "spinalcord_mr/t2/t2.nii.gz"]
)
def test_a_real_volume_returns_from_dicom(name, shared_data, tmp_path):
    image = nib.load(shared_data / name)
    write_series(tmp_path / "series", np.asarray(image.dataobj).astype(np.int16), image.affine)
    expected, read = read_volume(shared_data / name), read_volume(tmp_path / "series")
    np.testing.assert_array_equal(read.intensities(), expected.intensities())
    np.testing.assert_allclose(read.affine, expected.affine, atol=1e-4)

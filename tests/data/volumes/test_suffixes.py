from pathlib import Path

import pytest

from medusis_tf.data.volumes.suffixes import (
    has_nifti_name,
    has_volume_name,
    split_nifti_name,
    split_volume_name,
)


@pytest.mark.parametrize("name", ["a.b.nii", "a.b.nii.gz", "a.b.NII", "a.b.NII.GZ", "a.b.nii.GZ"])
def test_nifti_names_have_a_stem_and_a_suffix(name):
    assert has_nifti_name(Path("folder", name))
    assert split_nifti_name(Path("folder", name)) == ("a.b", name.removeprefix("a.b"))


@pytest.mark.parametrize("name", ["a.gz", "a.nii.bz2", "nii", "a.mha"])
def test_other_names_are_not_nifti(name):
    assert not has_nifti_name(Path(name))
    with pytest.raises(ValueError, match="expected a NIfTI file name"):
        split_nifti_name(Path(name))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".MHA", ".mhd", ".mgz", ".hdr"])
def test_names_of_other_formats(suffix):
    assert has_volume_name(Path("a.b" + suffix))
    assert split_volume_name(Path("folder", "a.b" + suffix)) == ("a.b", suffix)
    with pytest.raises(ValueError, match="expected the file name of a volume"):
        split_volume_name(Path("a.dcm"))

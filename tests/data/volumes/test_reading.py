import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from medusis_tf.data.volumes.nifti import write_volume
from medusis_tf.data.volumes.reading import read_grid, read_label_map, read_volume
from medusis_tf.errors import UserError
from tests.data.dicom_files import write_series
from tests.data.volume_files import lps_affine, write_nifti

ARRAY = np.arange(24).reshape(2, 3, 4).astype(np.uint8)

_LIGHT = """
import sys
sys.modules["pydicom"] = None  # as if it were not installed; nibabel imports it otherwise
import medusis_tf.data.volumes.reading
heavy = {"tensorflow", "keras", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


def test_workers_import_the_readers_without_heavy_or_optional_libraries():
    subprocess.run([sys.executable, "-c", _LIGHT], check=True)


def nifti(path):
    return write_nifti(path / "a.nii.gz", ARRAY)


def dicom(path):
    write_series(path, ARRAY, lps_affine())
    return path


def png(path):
    for z in range(ARRAY.shape[2]):
        Image.fromarray(ARRAY[:, :, z].T.copy()).save(path / f"{z}.png")
    return path


@pytest.mark.parametrize("write", [nifti, dicom, png])
@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_all_formats_are_read_from_str_and_path(write, kind, tmp_path):
    path = write(tmp_path)
    for read in (read_volume(kind(path)), read_label_map(kind(path))):
        np.testing.assert_array_equal(read.array, ARRAY)
        assert read.path == path
    assert (read_grid(kind(path)).shape, read_grid(kind(path)).path) == (ARRAY.shape, path)


def test_volumes_are_written_to_str_and_path(tmp_path):
    source = nifti(tmp_path)
    write_volume(str(tmp_path / "b.nii"), ARRAY, str(source))
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii").array, ARRAY)


@pytest.mark.parametrize("read", [read_volume, read_label_map, read_grid])
def test_a_missing_str_path_raises_a_message_with_the_path(read):
    with pytest.raises(UserError, match=r"there is no file missing/a\.nii"):
        read("missing/a.nii")


def test_a_folder_of_nifti_files_is_explained(tmp_path):
    with pytest.raises(UserError, match=r"masks is a folder of volumes.*one-class masks"):
        read_volume(write_nifti(tmp_path / "masks" / "liver.nii.gz", ARRAY).parent)


@pytest.mark.parametrize("name", ["a.NII.GZ", "a.Nii", "a.NII"])
def test_suffixes_may_have_any_case(name, tmp_path):
    source = write_nifti(tmp_path / f"source{name[1:].lower()}", ARRAY)
    path = source.rename(tmp_path / name)
    for read in (read_volume, read_label_map):
        np.testing.assert_array_equal(read(path).array, ARRAY)
    assert read_grid(path).shape == ARRAY.shape

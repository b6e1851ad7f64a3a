"""`import medusis_tf as mt`: the functions for notebooks and scripts."""

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

import medusis_tf as mt
from tests.serving.small_run import ellipses, make_model, make_run, write_nifti


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return mt.open_model(str(make_model(tmp_path_factory)))


def test_the_import_is_fast_and_every_name_is_there():
    program = (
        "import sys, medusis_tf as mt\n"
        "heavy = {'tensorflow', 'keras', 'pydantic', 'scipy', 'nibabel'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert all(hasattr(mt, name) for name in mt.__all__)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    assert mt.__version__ == version("medusis_tf")


@pytest.mark.parametrize("axes", ["LPS", "RAS"])
def test_a_file_and_an_image_give_a_volume_on_their_own_grid(model, tmp_path, axes):
    path = tmp_path / "labels.nii.gz"
    write_nifti(path, ellipses(), axes)
    volume = mt.synthesize(model, str(path), seed=3)
    source = nib.load(path)
    assert volume.shape == source.shape
    np.testing.assert_allclose(volume.affine, source.affine)
    np.testing.assert_array_equal(volume.get_fdata(), mt.synthesize(model, source, 3).get_fdata())


def test_a_run_paints_as_its_export_does(run_dir, model, tmp_path):
    path = tmp_path / "labels.nii.gz"
    write_nifti(path, ellipses())
    of_run, of_model = (mt.synthesize(each, path) for each in (mt.open_run(run_dir), model))
    np.testing.assert_allclose(of_run.get_fdata(), of_model.get_fdata(), rtol=1e-3, atol=0.1)


def test_an_array_gives_slices(model):
    label_map = np.ones((2, 32, 16), np.uint8)
    images = mt.synthesize(model, label_map, seed=1)
    assert images.shape == (2, 32, 16) and images.dtype == np.float32
    assert np.abs(images).max() <= 1
    np.testing.assert_array_equal(mt.synthesize(model, label_map[0], seed=1), images[0])
    assert np.abs(mt.synthesize(model, label_map, seed=2) - images).max() > 0


@pytest.mark.parametrize(
    ("label_map", "message"),
    [
        (np.zeros((2, 2, 32, 32), int), r"\[height, width\] or \[slices, height, width\]"),
        (np.full((32, 32), 3), "integers from 0 to 2"),
        (np.full((32, 32), -1), "from -1 to -1"),
        (np.zeros((32, 32), np.float32), "Received: float32"),
        (np.zeros((30, 32), int), "divisible by 4"),
        (np.zeros((0, 32, 32), int), "not empty"),
    ],
)
def test_a_wrong_array_is_refused(model, label_map, message):
    with pytest.raises(mt.UserError, match=message):
        mt.synthesize(model, label_map)


def test_an_unknown_checkpoint_is_refused(run_dir):
    with pytest.raises(mt.UserError, match=r"newest, best\. Received: 'last'"):
        mt.open_run(run_dir, "last")


@pytest.mark.parametrize(
    ("voxels", "affine", "message"),
    [
        (np.full((4, 4, 2), 1.5), np.eye(4), "fractions or NaN"),
        (np.full((4, 4, 2), np.nan), np.eye(4), "fractions or NaN"),
        (np.ones((4, 4, 2), np.complex64), np.eye(4), "Received: complex64"),
        (np.ones((4, 4), np.uint8), np.eye(4), "three axes"),
        (np.ones((4, 4, 2, 1), np.uint8), np.eye(4), "three axes"),
        (np.ones((4, 4, 2), np.uint8), np.diag([1, 1, 0, 1]), "axes independent"),
    ],
)
def test_a_wrong_image_is_refused(model, voxels, affine, message):
    image = nib.Nifti1Image(voxels, None)
    image._affine = affine
    with pytest.raises(mt.UserError, match=message):
        mt.synthesize(model, image)


@pytest.mark.parametrize("noise", [{"seed": -1}, {"seed": 2**31}, {"seed": 1.5}])
def test_a_wrong_seed_is_refused(model, noise):
    with pytest.raises(mt.UserError, match="seed must be an integer"):
        mt.synthesize(model, np.zeros((32, 32), int), **noise)


@pytest.mark.parametrize("truncation", [-1.0, np.nan, "1"])
def test_a_wrong_truncation_is_refused(model, truncation):
    with pytest.raises(mt.UserError, match="truncation must be 0 or more"):
        mt.synthesize(model, np.zeros((32, 32), int), truncation=truncation)

"""`import medusis_tf as mt`: the functions for notebooks and scripts."""

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

import medusis_tf as mt
from tests.serving.small_run import ellipses, make_model, make_run, write_nifti
from tests.serving.test_finer_label_map import BONE, MARROW, metadata, write


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
        (np.full((4, 4, 2), 1.5), np.eye(4), "not whole numbers, such as 1.5"),
        (np.full((4, 4, 2), np.nan), np.eye(4), "such as nan"),
        (np.ones((4, 4, 2), np.complex64), np.eye(4), "Received: complex64"),
        (np.ones((4, 4), np.uint8), np.eye(4), "one 3-D volume"),
        (np.ones((4, 4, 2, 2), np.uint8), np.eye(4), "one 3-D volume"),
        (np.ones((4, 4, 2), np.uint8), np.diag([1, 1, 0, 1]), "header that is not valid"),
        (np.ones((4, 4, 2), np.uint8), None, "no orientation: sform_code"),
    ],
)
def test_a_wrong_image_is_refused(model, voxels, affine, message):
    image = nib.Nifti1Image(voxels, None)
    image._affine = affine
    with pytest.raises(mt.UserError, match=message):
        mt.synthesize(model, image)


@pytest.mark.parametrize("kind", ["Nifti1Pair", "Nifti2Image", "MGHImage"])
def test_other_images_of_nibabel_are_read_as_nifti_is(model, tmp_path, kind):
    path = tmp_path / "labels.nii.gz"
    write_nifti(path, ellipses())
    source = nib.load(path)
    other = getattr(nib, kind)(np.asarray(source.dataobj).astype(np.int32), source.affine)
    painted = mt.synthesize(model, other, seed=3).get_fdata()
    np.testing.assert_array_equal(painted, mt.synthesize(model, source, seed=3).get_fdata())


@pytest.mark.parametrize("label_map", [None, [1, 2], b"labels.nii", nib.Nifti1Header()])
def test_what_is_no_label_map_is_refused(model, label_map):
    with pytest.raises(mt.UserError, match="must be a path, an array, or a NIfTI, Analyze or MGH"):
        mt.synthesize(model, label_map)


def test_the_axes_of_an_image_without_orientation_are_assumed_as_of_its_file(model, tmp_path):
    path = tmp_path / "labels.nii.gz"
    ids = ellipses().astype(np.uint8)
    image = nib.Nifti1Image(ids, None)
    image.to_filename(path)
    for label_map in (path, nib.load(path), image, nib.AnalyzeImage(ids, np.eye(4))):
        with pytest.raises(
            mt.UserError, match=r"no orientation: .* or set assume_axes to the axes"
        ):
            mt.synthesize(model, label_map)
        painted = mt.synthesize(model, label_map, assume_axes="RAS")
        assert nib.aff2axcodes(painted.affine) == ("R", "A", "S")


def test_the_names_in_the_header_of_an_image_count(model, tmp_path):
    path = tmp_path / "named.nii.gz"
    text = '<LabelTable><Label Key="2">fat</Label><Label Key="1">muscle</Label></LabelTable>'
    write_nifti(path, ellipses())
    plain = nib.load(path)
    named = nib.Nifti1Image(np.asarray(plain.dataobj), plain.affine)
    named.header.extensions.append(nib.nifti1.Nifti1Extension(0, text.encode()))
    named.to_filename(path)
    painted = [mt.synthesize(model, each).get_fdata() for each in (named, nib.load(path), path)]
    np.testing.assert_array_equal(painted[0], painted[1])
    np.testing.assert_array_equal(painted[0], painted[2])
    by_ids = mt.synthesize(model, named, label_source="model").get_fdata()
    assert np.abs(painted[0] - by_ids).max() > 0


class FinePainter:
    """Paints the class ids of a model with the finer class marrow."""

    metadata = metadata()

    def synthesize_volume(self, label_map, seed, truncation):
        return label_map.array.astype(np.float32)

    def paint(self, label_maps, noise):
        return label_maps[..., np.newaxis].astype(np.float32)

    def draw_noise(self, seed, truncation):
        return np.zeros(4, np.float32)


@pytest.mark.parametrize(("id_", "warned"), [(BONE, True), (MARROW, False)])
def test_a_coarse_array_is_a_warning(caplog, id_, warned):
    mt.synthesize(FinePainter(), np.full([32, 32], id_))
    assert ("none of the finer classes" in caplog.text) is warned


def test_a_coarse_label_map_needs_its_ct(tmp_path):
    x, y = np.mgrid[-20:20, -20:20]
    radius = np.repeat(np.hypot(x, y)[:, :, np.newaxis], 3, axis=2)
    ids = np.select([radius < 8, radius < 16], [BONE, 2], 0).astype(np.uint8)
    hounsfield = np.select([radius < 4, radius < 8, radius < 16], [0, 1000, 50], -1000)
    ct = write(tmp_path / "ct.nii", hounsfield.astype(np.int16))
    path = write(tmp_path / "labels.nii", ids)
    for label_map in (path, nib.load(path)):
        with pytest.raises(mt.UserError, match="Give the CT of this label map with ct, which"):
            mt.synthesize(FinePainter(), label_map)
        painted = mt.synthesize(FinePainter(), label_map, ct=ct).get_fdata()
        np.testing.assert_array_equal(painted == MARROW, radius < 4)
    assert (mt.synthesize(FinePainter(), None, ct=str(ct)).get_fdata() == MARROW).any()
    with pytest.raises(mt.UserError, match="ct must be the path of a CT"):
        mt.synthesize(FinePainter(), path, ct=nib.load(ct))
    with pytest.raises(mt.UserError, match="not to an array of slices"):
        mt.synthesize(FinePainter(), ids[:, :, 0], ct=ct)


@pytest.mark.parametrize("noise", [{"seed": -1}, {"seed": 2**31}, {"seed": 1.5}])
def test_a_wrong_seed_is_refused(model, noise):
    with pytest.raises(mt.UserError, match="seed must be an integer"):
        mt.synthesize(model, np.zeros((32, 32), int), **noise)


@pytest.mark.parametrize("truncation", [-1.0, np.nan, "1"])
def test_a_wrong_truncation_is_refused(model, truncation):
    with pytest.raises(mt.UserError, match="truncation must be 0 or more"):
        mt.synthesize(model, np.zeros((32, 32), int), truncation=truncation)

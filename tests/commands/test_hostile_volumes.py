"""Unusual and broken volumes: every command reads them right, or ends with one clear message."""

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest

from medusis_tf.commands.evaluate import evaluate
from medusis_tf.commands.prepare import prepare
from medusis_tf.commands.synthesize import synthesize
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.data.volumes.reading import read_grid, read_volume
from medusis_tf.methods.experiment import load_config
from tests.command_runner import run_command, user_error
from tests.data.volume_files import edit_nifti, lps_affine, rotated, write_nifti
from tests.evaluation.made_subjects import changed_config
from tests.serving.small_run import INTENSITIES, SHAPE, SPACING_MM, ellipses, make_model, make_run

AFFINE = lps_affine(SPACING_MM, (30, 20, -100))
SHEAR = np.eye(4) + 0.2 * np.eye(4, k=1) * [[1], [0], [0], [0]]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return make_model(tmp_path_factory)


def label_map():
    return ellipses(3).astype(np.uint8)


def mr():
    noise = np.random.default_rng(0).normal(0, 5, SHAPE)
    return (INTENSITIES[ellipses(3)] + noise).astype(np.float32)


def save(path, array, affine=AFFINE, dtype=None, order="<", kind=nib.Nifti1Image):
    """Write an array as it is, in any type and byte order."""
    header = kind.header_class(endianness=order)
    header.set_data_dtype(dtype or array.dtype)
    nib.save(kind(array, affine, header), path)
    return path


def config_of(run_dir, folder, **paths):
    """A configuration of one label map and one image, of which some are given."""
    subjects = [
        {"subject": name, "split": "train", role: str(paths.get(role, run_dir.parents[1] / own))}
        for name, role, own in (
            ("a", "label_map", "a_labels.nii.gz"),
            ("b", "image", "b_mr.nii.gz"),
        )
    ]
    return changed_config(
        run_dir,
        folder / "config.yaml",
        root="/",
        cache_dir=str(folder / "cache"),
        subjects=subjects,
        minimum_foreground=0.0,
    )


def painted(model_dir, path, out):
    status, printed, error = run_command(
        synthesize, "--model", model_dir, "--label-map", path, "--out", out
    )
    assert status == 0, error
    return read_volume(out), printed


READABLE = {
    "LIA": lambda path, array: write_nifti(path, array, AFFINE, "LIA"),
    "LPS": lambda path, array: write_nifti(path, array, AFFINE, "LPS"),
    "RAS": lambda path, array: write_nifti(path, array, AFFINE, "RAS"),
    "big endian": lambda path, array: save(path, array.astype(np.int16), order=">"),
    "NIfTI-2": lambda path, array: save(path, array, kind=nib.Nifti2Image),
    "int64": lambda path, array: save(path, array.astype(np.int64)),
    "uint64": lambda path, array: save(path, array.astype(np.uint64)),
    "float64": lambda path, array: save(path, array.astype(np.float64)),
    "one frame": lambda path, array: save(path, array[..., np.newaxis]),
}


@pytest.fixture(scope="module")
def expected(run_dir, model_dir, tmp_path_factory):
    """The synthetic volume and the prepared slices of the plain label map."""
    folder = tmp_path_factory.mktemp("expected")
    path = write_nifti(folder / "d.nii.gz", label_map(), AFFINE)
    volume, _ = painted(model_dir, path, folder / "mr.nii.gz")
    config = load_config(config_of(run_dir, folder, label_map=path))
    return volume, prepare_shards(config).read("a").label_map


@pytest.mark.parametrize("name", READABLE)
def test_one_label_map_in_any_form_gives_one_image(name, expected, run_dir, model_dir, tmp_path):
    path = READABLE[name](tmp_path / "d.nii.gz", label_map())
    volume, _ = painted(model_dir, path, tmp_path / "mr.nii.gz")
    np.testing.assert_array_equal(volume.array, expected[0].array)
    np.testing.assert_allclose(volume.affine, expected[0].affine, atol=1e-4)
    assert nib.aff2axcodes(nib.load(tmp_path / "mr.nii.gz").affine) == nib.aff2axcodes(
        nib.load(path).affine
    )
    config = load_config(config_of(run_dir, tmp_path, label_map=path))
    np.testing.assert_array_equal(prepare_shards(config).read("a").label_map, expected[1])


UNUSUAL = {
    "oblique": (np.s_[:], rotated(AFFINE, 0.2, 0.3, -0.15), None),
    "45 degrees": (np.s_[:], rotated(AFFINE, 0.785, 0.785, 0.785), "are resampled to the axial"),
    "anisotropic": (np.s_[:], lps_affine((0.3, 0.4, 12), (0, 0, 0)), "voxels of 0.3 x 0.4 x 12 mm"),
    "one slice": (np.s_[:, :, 3:4], AFFINE, None),
    "one voxel": (np.s_[11:12, 9:10, 3:4], AFFINE, None),
    "sheared": (np.s_[:], AFFINE @ SHEAR, "not at right angles: off by 11.3 degrees"),
    "micrometres": (np.s_[:], lps_affine((1e-3, 1e-3, 1e-3)), "voxel size is unusual"),
}


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_grid_comes_back_and_is_said(name, model_dir, run_dir, tmp_path):
    part, affine, said = UNUSUAL[name]
    path = write_nifti(tmp_path / "d.nii.gz", label_map()[part], affine)
    volume, printed = painted(model_dir, path, tmp_path / "mr.nii.gz")
    grid = read_grid(path)
    assert volume.shape == grid.shape
    np.testing.assert_allclose(volume.affine, grid.affine, atol=1e-4)
    assert np.isfinite(volume.array).all()
    words = " ".join(printed.split())
    assert said in words if said else "d.nii.gz:" not in words
    status, _, error = run_command(
        prepare, "--config", config_of(run_dir, tmp_path, label_map=path), "--jobs", 1
    )
    assert status == 0, error


def truncated(path, array, share=0.7):
    content = write_nifti(path, array, AFFINE).read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def byte_swapped_size(path, array):
    """The header of a little-endian file that claims to be big-endian."""
    content = bytearray(save(path, array).read_bytes())
    content[:4] = struct.pack(">i", 348)
    path.write_bytes(content)
    return path


def content(path, text):
    path.write_bytes(text)
    return path


NAN_ROWS = {f"srow_{axis}": [np.nan] * 4 for axis in "xyz"}
# File name, function that writes it, and the reason that every command states.
BROKEN = {
    "nothing": ("d.nii.gz", lambda p, a: content(p, b""), "it is empty"),
    "gzip of nothing": (
        "d.nii.gz",
        lambda p, a: content(p, gzip.compress(b"")),
        "does not start with a NIfTI header",
    ),
    "empty NRRD": ("d.nrrd", lambda p, a: content(p, b""), "cannot be read as NRRD"),
    "empty MetaImage": ("d.mha", lambda p, a: content(p, b""), "has no ElementDataFile"),
    "empty MGZ": ("d.mgz", lambda p, a: content(p, b""), "cannot be read"),
    "truncated gzip": ("d.nii.gz", truncated, "may be truncated or damaged"),
    "truncated end": ("d.nii.gz", lambda p, a: truncated(p, a, 0.995), "may be truncated"),
    "truncated": ("d.nii", truncated, "is too short"),
    "wrong endianness": ("d.nii", byte_swapped_size, "must contain one 3-D volume"),
    "two axes": ("d.nii.gz", lambda p, a: save(p, a[:, :, 3]), "must contain one 3-D volume"),
    "two frames": (
        "d.nii.gz",
        lambda p, a: save(p, np.stack([a, a], -1)),
        "3-D volume. Received: 4 axes, shape (24, 20, 6, 2)",
    ),
    "no voxels": (
        "d.nii",
        lambda p, a: edit_nifti(write_nifti(p, a, AFFINE), dim=[3, 24, 0, 6, 1, 1, 1, 1]),
        "has an axis without voxels",
    ),
    "too many voxels": (
        "d.nii",
        lambda p, a: edit_nifti(
            write_nifti(p, a, AFFINE), dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]
        ),
        "claims 35181150961663 voxels",
    ),
    "NaN affine": (
        "d.nii",
        lambda p, a: edit_nifti(write_nifti(p, a, AFFINE), **NAN_ROWS),
        "affine that is not invertible",
    ),
    "NaN offset": (
        "d.nii",
        lambda p, a: edit_nifti(write_nifti(p, a, AFFINE), srow_x=[-2.5, 0, 0, np.nan]),
        "affine that is not invertible",
    ),
    "flat affine": (
        "d.nii",
        lambda p, a: edit_nifti(write_nifti(p, a, AFFINE), srow_x=[0] * 4),
        "affine that is not invertible",
    ),
    "no orientation": (
        "d.nii",
        lambda p, a: edit_nifti(write_nifti(p, a, AFFINE), qform_code=0, sform_code=0),
        "has no orientation",
    ),
    "complex": ("d.nii.gz", lambda p, a: save(p, a.astype(np.complex64)), "one real number per"),
    "NaN voxels": (
        "d.nii.gz",
        lambda p, a: save(p, np.where(a == a.max(), np.nan, a).astype(np.float32)),
        "not_finite=replace",
    ),
    "text": ("d.nii.gz", lambda p, a: content(p, b"hello"), "named .gz but is not compressed"),
}
LABELS = {
    "fractions": (lambda a: a + np.float32(0.25), "2880 of 2880 voxels are not whole numbers"),
    "64 bits": (lambda a: a.astype(np.int64) << 40, "label ids beyond 32 bits"),
    "negative": (lambda a: -a.astype(np.int16), "-2"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_message_in_every_command(name, run_dir, model_dir, tmp_path):
    file, make, message = BROKEN[name]
    labels, images = tmp_path / "labels", tmp_path / "images"
    labels.mkdir()
    images.mkdir()
    label_path = make(labels / file, label_map())
    image_path = make(images / file, mr())
    out = tmp_path / "out.nii.gz"
    commands = [
        (synthesize, "--model", model_dir, "--label-map", label_path, "--out", out),
        (prepare, "--config", config_of(run_dir, labels, label_map=label_path), "--jobs", 1),
        (prepare, "--config", config_of(run_dir, images, image=image_path), "--jobs", 1),
        (
            *(evaluate, "--images", images, "--data", run_dir / "config.yaml"),
            *("--out", tmp_path / "evaluation"),
        ),
    ]
    for command, *arguments in commands:
        found = " ".join(user_error(command, *arguments).split())
        assert file in found
        assert message in found
    assert not out.exists()


@pytest.mark.parametrize("name", LABELS)
def test_label_maps_that_are_none_are_refused(name, run_dir, model_dir, tmp_path):
    change, message = LABELS[name]
    path = save(tmp_path / "d.nii.gz", change(label_map()))
    config = config_of(run_dir, tmp_path, label_map=path)
    out = tmp_path / "out.nii.gz"
    for command, *arguments in (
        (synthesize, "--model", model_dir, "--label-map", path, "--out", out),
        (prepare, "--config", config, "--jobs", 1),
    ):
        assert message in user_error(command, *arguments)
    assert not out.exists()

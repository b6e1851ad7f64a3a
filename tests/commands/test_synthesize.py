import hashlib
import json
import os

import nibabel as nib
import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.commands.synthesize import synthesize
from medusis_tf.data.volumes.reading import read_volume
from medusis_tf.serving.predictor import SlicePainter
from tests.command_runner import run_command, user_error
from tests.serving.small_run import SHAPE, ellipses, make_model, make_run, write_nifti


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return make_model(tmp_path_factory)


@pytest.fixture
def label_map(tmp_path):
    write_nifti(tmp_path / "labels.nii.gz", ellipses(), axes="SLP")
    return tmp_path / "labels.nii.gz"


def test_a_volume_has_the_grid_of_its_label_map(model_dir, label_map, tmp_path):
    out, preview = tmp_path / "new" / "mr.nii.gz", tmp_path / "preview.png"
    status, printed, _ = run_command(
        synthesize, "--model", model_dir, "--label-map", label_map, "--out", out,
        "--seed", 5, "--truncation", 1.5, "--preview", preview,
    )  # fmt: skip
    assert status == 0
    assert printed.splitlines()[-2:] == [f"wrote {out}", f"wrote {preview}"]
    image, source = nib.load(out), nib.load(label_map)
    assert image.shape == source.shape == (SHAPE[2], SHAPE[0], SHAPE[1])
    np.testing.assert_array_equal(image.affine, source.affine)
    assert np.asarray(image.dataobj)[1:].std() > 0
    assert preview.read_bytes().startswith(b"\x89PNG")
    record = json.loads((tmp_path / "new" / "mr.json").read_text())
    expected = {
        "synthetic": True,
        "volume": "mr.nii.gz",
        "model": "small",
        "seed": 5,
        "truncation": 1.5,
        "label_map": "labels.nii.gz",
        "label_map_sha256": hashlib.sha256(label_map.read_bytes()).hexdigest(),
    }
    assert record.items() >= expected.items()
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"mr.nii.gz", "mr.json"}


def test_the_record_says_how_a_label_map_was_resampled(model_dir, label_map, tmp_path):
    source = nib.load(label_map)
    affine = source.affine @ np.diag([0.7, 0.7, 0.7, 1.0])
    nib.save(nib.Nifti1Image(np.asarray(source.dataobj), affine), tmp_path / "small.nii.gz")
    run_command(
        synthesize, "--model", model_dir, "--label-map", tmp_path / "small.nii.gz",
        "--out", tmp_path / "mr.nii.gz",
    )  # fmt: skip
    (line,) = json.loads((tmp_path / "mr.json").read_text())["warnings"]
    assert "are resampled to the axial slices of the training" in line


def test_samples_have_successive_seeds(model_dir, label_map, tmp_path):
    arguments = ["--model", model_dir, "--label-map", label_map]
    run_command(synthesize, *arguments, "--out", tmp_path / "g.nii", "--seed", 3, "--samples", 2)
    run_command(synthesize, *arguments, "--out", tmp_path / "one.nii", "--seed", 4)
    first, second, one = (
        np.asarray(nib.load(tmp_path / name).dataobj) for name in ("g_1.nii", "g_2.nii", "one.nii")
    )
    np.testing.assert_array_equal(second, one)
    assert np.abs(first - second).max() > 1
    assert json.loads((tmp_path / "g_2.json").read_text())["seed"] == 4
    assert not (tmp_path / "g.nii").exists()


def test_errors_are_reported_before_anything_is_written(
    model_dir, label_map, tmp_path, tmp_path_factory
):
    def message(model=model_dir, labels=label_map, out=tmp_path / "out.nii.gz"):
        return user_error(synthesize, "--model", model, "--label-map", labels, "--out", out)

    before = sorted(tmp_path.rglob("*"))
    run_dir = make_run(tmp_path_factory)
    assert f"medusis export --run {run_dir}" in message(model=run_dir)
    assert "there is no model folder" in message(model=tmp_path / "missing")
    assert "holds no exported model" in message(model=tmp_path)
    assert "there is no file or folder" in message(labels=tmp_path / "missing.nii.gz")
    assert "must end in .nii.gz, .nii, .nrrd or .mha" in message(out=tmp_path / "out.png")
    assert "would replace the label map" in message(out=label_map)
    assert "cannot write" in message(out=label_map / "below" / "out.nii.gz")
    assert sorted(tmp_path.rglob("*")) == before


def test_unknown_class_ids_are_reported_with_file_and_slice(model_dir, tmp_path):
    array = ellipses()
    array[5, 5, 3], array[6, 5, 4] = 8, 9
    write_nifti(tmp_path / "broken.nii.gz", array)
    message = user_error(
        synthesize, "--model", model_dir, "--label-map", tmp_path / "broken.nii.gz",
        "--out", tmp_path / "out.nii.gz",
    )  # fmt: skip
    assert all(part in message for part in ("broken.nii.gz", "8, 9", "slice 3", "0 to 2"))


def test_a_truncated_file_is_reported(model_dir, label_map, tmp_path):
    label_map.write_bytes(label_map.read_bytes()[:60])
    out = tmp_path / "out.nii.gz"
    message = user_error(synthesize, "--model", model_dir, "--label-map", label_map, "--out", out)
    assert str(label_map) in message


def run(*arguments):
    status, printed, error = run_command(synthesize, *arguments)
    assert status == 0, error
    return printed


def array_of(path):
    return np.asarray(nib.load(path).dataobj)


def test_an_existing_volume_is_never_replaced_in_silence(model_dir, label_map, tmp_path):
    out = tmp_path / "mr.nii.gz"
    arguments = ["--model", model_dir, "--label-map", label_map, "--out", out]
    out.write_bytes(b"mine")
    assert f"{out} exists already. Give --overwrite" in user_error(synthesize, *arguments)
    assert out.read_bytes() == b"mine"
    out.unlink()
    foreign = '{"RepetitionTime": 2.3}'
    (tmp_path / "mr.json").write_text(foreign)
    assert "mr.json is no record of mr.nii.gz" in user_error(synthesize, *arguments)
    message = user_error(synthesize, *arguments, "--overwrite")
    assert "mr.json is no record of mr.nii.gz, and is not replaced" in message
    assert (tmp_path / "mr.json").read_text() == foreign and not out.exists()
    (tmp_path / "mr.json").unlink()
    run(*arguments)
    assert "exists already" in user_error(synthesize, *arguments)
    run(*arguments, "--overwrite", "--seed", 1)
    assert json.loads((tmp_path / "mr.json").read_text())["seed"] == 1


def test_a_record_belongs_to_one_volume(model_dir, label_map, tmp_path):
    arguments = ["--model", model_dir, "--label-map", label_map]
    run(*arguments, "--out", tmp_path / "mr.nii.gz")
    # The folder mr, with a patient's own series, and mr.nii.gz have the same place for a record.
    (tmp_path / "mr").mkdir()
    (tmp_path / "mr" / "own.dcm").write_bytes(b"mine")
    other = ["--out", tmp_path / "mr", "--format", "dicom", "--overwrite"]
    assert "folder with other files" in user_error(synthesize, *arguments, *other)
    assert (tmp_path / "mr" / "own.dcm").read_bytes() == b"mine"
    (tmp_path / "mr" / "own.dcm").unlink()
    before = (tmp_path / "mr.json").read_bytes()
    assert "is no record of mr, and is not replaced" in user_error(synthesize, *arguments, *other)
    assert (tmp_path / "mr.json").read_bytes() == before


def test_an_interrupted_series_of_samples_goes_on(model_dir, label_map, tmp_path):
    arguments = ["--model", model_dir, "--label-map", label_map, "--out", tmp_path / "mr.nii"]
    run(*arguments, "--samples", 2)
    before = (tmp_path / "mr_1.nii").stat().st_mtime_ns
    (tmp_path / "mr_2.nii").unlink()  # as if stopped after the record was written
    printed = run(*arguments, "--samples", 3)
    assert "1 of 3 volumes exist already, and are skipped: mr_1.nii" in printed
    assert (tmp_path / "mr_1.nii").stat().st_mtime_ns == before
    assert (tmp_path / "mr_3.nii").exists()
    assert "all 3 volumes exist already" in user_error(synthesize, *arguments, "--samples", 3)
    other = user_error(synthesize, *arguments, "--samples", 3, "--seed", 7)
    assert "made differently: seed was 0, is 7" in other


def test_an_interpolation_leads_from_seed_to_seed(model_dir, label_map, tmp_path):
    arguments = ["--model", model_dir, "--label-map", label_map]
    run(*arguments, "--out", tmp_path / "i.nii", "--interpolate", 3, 4, "--samples", 3)
    run(*arguments, "--out", tmp_path / "s.nii", "--seed", 3, "--samples", 2)
    for interpolated, sample in (("i_1", "s_1"), ("i_3", "s_2")):
        np.testing.assert_allclose(
            array_of(tmp_path / f"{interpolated}.nii"), array_of(tmp_path / f"{sample}.nii")
        )
    record = json.loads((tmp_path / "i_2.json").read_text())
    assert (record["seed"], record["interpolated_to"], record["blend"]) == (3, 4, 0.5)


def test_the_mean_of_noises_is_the_mean_of_their_volumes(model_dir, label_map, tmp_path):
    arguments = ["--model", model_dir, "--label-map", label_map]
    run(*arguments, "--out", tmp_path / "mean.nii", "--mean", 3)
    run(*arguments, "--out", tmp_path / "s.nii", "--samples", 3)
    mean = np.mean([array_of(tmp_path / f"s_{n}.nii") for n in (1, 2, 3)], axis=0)
    np.testing.assert_allclose(array_of(tmp_path / "mean.nii"), mean, rtol=1e-4, atol=0.05)


@pytest.mark.parametrize("suffix", ["nrrd", "mha", "MHA"])
def test_formats_hold_the_same_volume(model_dir, label_map, tmp_path, suffix):
    arguments = ["--model", model_dir, "--label-map", label_map]
    run(*arguments, "--out", tmp_path / "a.nii.gz")
    run(*arguments, "--out", tmp_path / f"b.{suffix}")
    one, other = read_volume(tmp_path / "a.nii.gz"), read_volume(tmp_path / f"b.{suffix}")
    np.testing.assert_array_equal(one.array, other.array)
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-5)
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_dicom_series_is_a_folder_with_its_record_beside(model_dir, label_map, tmp_path):
    pytest.importorskip("pydicom")
    out = tmp_path / "series"
    arguments = ["--model", model_dir, "--label-map", label_map, "--format", "dicom"]
    message = user_error(synthesize, *arguments, "--out", out, "--dicom", "PatientNme=x")
    assert "did you mean PatientName" in message and not out.exists()
    run(*arguments, "--out", out, "--dicom", "PatientID=P7", "--dicom", "StudyID=1")
    assert {path.suffix for path in out.iterdir()} == {".dcm"}
    assert json.loads((tmp_path / "series.json").read_text())["synthetic"]
    one = read_volume(out)
    run("--model", model_dir, "--label-map", label_map, "--out", tmp_path / "a.nii.gz")
    other = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_allclose(one.intensities(), other.intensities(), atol=0.51)
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-4)
    assert "exists already" in user_error(synthesize, *arguments, "--out", out)
    run(*arguments, "--out", out, "--overwrite")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    mine = user_error(synthesize, *arguments, "--out", tmp_path / "mine", "--overwrite")
    assert "is a folder with other files" in mine


def test_a_folder_of_masks_is_one_label_map(model_dir, label_map, tmp_path):
    for id_, name in ((1, "fat"), (2, "muscle")):
        (tmp_path / "masks").mkdir(exist_ok=True)
        write_nifti(tmp_path / "masks" / f"{name}.nii.gz", ellipses() >= id_, axes="SLP")
    printed = run(
        "--model", model_dir, "--label-map", tmp_path / "masks", "--out", tmp_path / "m.nii.gz"
    )
    overlap = np.count_nonzero(ellipses() == 2)
    assert f"masks overlap; muscle wins over fat in {overlap} voxels" in printed
    run("--model", model_dir, "--label-map", label_map, "--out", tmp_path / "l.nii.gz")
    np.testing.assert_array_equal(array_of(tmp_path / "m.nii.gz"), array_of(tmp_path / "l.nii.gz"))


def test_what_is_suspicious_is_said_in_one_line_each(model_dir, tmp_path):
    image = nib.Nifti1Image(ellipses().astype(np.uint8), None)
    image.set_sform(np.diag([-2.5, -2.5, 5, 1]), 1)
    image.set_qform(np.diag([2.5, 2.5, 5, 1]), 1)
    nib.save(image, tmp_path / "mirror.nii.gz")
    arguments = ["--model", model_dir, "--label-map", tmp_path / "mirror.nii.gz"]
    printed = run(*arguments, "--out", tmp_path / "o.nii.gz")
    assert "mirror.nii.gz: its sform, which is used, has the axes LPS, but its qform RAS" in printed
    micron = nib.Nifti1Image(ellipses().astype(np.uint8), np.diag([-9000.0, -9000, 5000, 1]))
    nib.save(micron, tmp_path / "micron.nii.gz")
    message = user_error(
        synthesize, "--model", model_dir, "--label-map", tmp_path / "micron.nii.gz",
        "--out", tmp_path / "m.nii.gz",
    )  # fmt: skip
    assert "too large to paint" in message and "\n" not in message


def test_a_preview_replaces_nothing(model_dir, label_map, tmp_path):
    out, before = tmp_path / "mr.nii.gz", label_map.read_bytes()
    arguments = ["--model", model_dir, "--label-map", label_map, "--out", out]
    for preview in (label_map, out, tmp_path / "mr.json"):
        message = user_error(synthesize, *arguments, "--preview", preview)
        assert "would replace the label map" in message or "must end in .png" in message
    (tmp_path / "p.png").write_bytes(b"mine")
    message = user_error(synthesize, *arguments, "--preview", tmp_path / "p.png")
    assert "p.png exists already" in message
    assert label_map.read_bytes() == before and not out.exists()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(path.name)])
def test_what_is_no_file_is_refused(model_dir, tmp_path, make):
    make(tmp_path / "l.nii.gz")
    arguments = ["--label-map", tmp_path / "l.nii.gz", "--out", tmp_path / "mr.nii.gz"]
    assert "no file or folder" in user_error(synthesize, "--model", model_dir, *arguments)


def test_what_messages_advise_can_be_done(model_dir, label_map, tmp_path):
    write_nifti(tmp_path / "l.nii", ellipses())
    raw = bytearray((tmp_path / "l.nii").read_bytes())
    raw[252:256] = bytes(4)  # no orientation
    (tmp_path / "l.nii").write_bytes(raw)
    arguments = ["--model", model_dir, "--label-map", tmp_path / "l.nii"]
    message = user_error(synthesize, *arguments, "--out", tmp_path / "o.nii")
    assert "set data.reading.assume_axes" in message
    run(*arguments, "--out", tmp_path / "o.nii", "data.reading.assume_axes=LPS")
    assert nib.load(tmp_path / "o.nii").header["sform_code"] > 0
    wrong = user_error(synthesize, *arguments, "--out", tmp_path / "p.nii", "data.axis=coronal")
    assert "only data.reading.KEY=VALUE can be changed here" in wrong


def test_graphs_are_not_optimized_while_images_are_painted(
    model_dir, label_map, tmp_path, monkeypatch
):
    """The first image would wait for it, and none would be painted faster."""
    seen, paint = [], SlicePainter.paint

    def record(*arguments, **options):
        seen.append(tf.config.optimizer.get_experimental_options())
        return paint(*arguments, **options)

    monkeypatch.setattr(SlicePainter, "paint", record)
    before = tf.config.optimizer.get_experimental_options()
    run("--model", model_dir, "--label-map", label_map, "--out", tmp_path / "mr.nii.gz")
    assert [each["disable_meta_optimizer"] for each in seen] == [True]
    assert tf.config.optimizer.get_experimental_options() == before
    label_map.write_bytes(b"damaged")
    assert user_error(
        synthesize, "--model", model_dir, "--label-map", label_map, "--out", tmp_path / "b.nii.gz"
    )
    assert tf.config.optimizer.get_experimental_options() == before

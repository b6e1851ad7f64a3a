"""The command on phantoms whose CT is deformed in a known way."""

import json
import logging
import shutil
import sys

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from medusis_tf.commands.register_pairs import register_pairs
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.data.preparing.subjects import load_image
from medusis_tf.methods.experiment import load_config
from medusis_tf.registration import pairs
from tests.command_runner import run_command, user_error
from tests.registration.phantom import SHAPE, entry, write_config, write_phantom


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("legs")
    for name in ("a", "b"):
        write_phantom(folder, name)
    write_phantom(folder, "c", moved=False)
    subjects = [
        entry("a", "train", "streams: [label_map]"),
        entry("c", "train", ct=False),
        entry("b", "test"),
    ]
    return write_config(folder, "".join(subjects))


@pytest.fixture(scope="module")
def registered(config, tmp_path_factory):
    out = tmp_path_factory.mktemp("registered") / "new"
    status, printed, _ = run_command(register_pairs, "--config", config, "--out", out)
    assert status == 0
    return out, printed


def test_the_outline_is_recovered(registered):
    out, printed = registered
    found = json.loads((out / "registration.json").read_text())["subjects"]
    assert set(found) == {"a", "b"}
    for name, each in found.items():
        before, after = each["before"], each["after"]
        assert before["outline_dice"] < 0.96 < 0.98 < after["outline_dice"]
        assert after["class_means_psnr"] > before["class_means_psnr"] + 3
        assert after["mutual_information"] > before["mutual_information"]
        assert 0 < after["smallest_jacobian"] < 1
        assert each["chosen"] in pairs.CHOICES
        assert each["warnings"] == []
        assert f"{name}: {each['chosen']}" in printed
    assert "Registered pairs" in printed


def test_the_deformation_is_undone(registered, config):
    out, _ = registered
    root = config.parent
    ct = nib.load(out / "a" / "ct.nii.gz")
    mr = nib.load(root / "a_mr.nii.gz")
    assert ct.shape == SHAPE
    np.testing.assert_allclose(ct.affine, mr.affine, atol=1e-4)
    bone = np.abs(mr.get_fdata() - 100) < 60  # 900 is fat, 300 muscle, 0 air
    own = nib.load(root / "a_ct.nii.gz").get_fdata()[4:-4, 3:-3]
    before, after = (
        2 * np.count_nonzero(bone & (hu > 450)) / (bone.sum() + (hu > 450).sum())
        for hu in (own, ct.get_fdata())
    )
    assert before < 0.65
    assert after > 0.8


def test_the_new_configuration_has_the_same_streams_and_is_prepared(registered):
    out, _ = registered
    config = load_config(out / "config.yaml")
    a, c, b = config.data.subjects
    assert (a.streams, c.streams, b.streams) == (("label_map",), None, None)
    assert [each.split for each in (a, c, b)] == ["train", "train", "test"]
    assert config.data.root == out.resolve()
    shards = prepare_shards(config)
    assert {record.subject for record in shards.records.subjects} == {"a", "b", "c"}
    [label_maps] = shards.subjects("train", "label_map")
    [images] = shards.subjects("train", "image")
    # The MR of the patient with the label map does not reach the networks.
    assert (label_maps.subject, images.subject) == ("a", "c")


def test_an_image_is_copied_unchanged(registered, config):
    out, _ = registered
    own, new = load_config(config).data, load_config(out / "config.yaml").data
    for before, after in zip(own.subjects, new.subjects, strict=True):
        np.testing.assert_array_equal(load_image(before, own).array, load_image(after, new).array)


def test_the_supervised_ceiling_trains_on_the_pairs_of_training_patients(registered):
    out, _ = registered
    config = load_config(out / "supervised.yaml")
    assert (config.name, config.data.pairing) == ("legs_supervised", "paired")
    assert config.generator.noise_dim == 0
    assert config.optimizers.generator.learning_rate == 1e-3
    assert [(each.subject, each.split) for each in config.data.subjects] == [
        ("a", "train"), ("b", "test"),
    ]  # fmt: skip
    assert config.data.subjects[0].used_streams == ("label_map", "image")
    weights = config.loss_weights
    assert (weights.reconstruction, weights.class_quantiles, weights.mask) == (100, 0, 0)
    own = load_config(out / "config.yaml")
    assert config.generator == own.generator.model_copy(update={"noise_dim": 0})
    assert config.data.classes == own.data.classes


def test_a_registration_that_folds_is_refused(config, tmp_path, monkeypatch):
    def fold(mr, mr_grid, ct, ct_grid, spline, seed):
        return SimpleITK.ScaleTransform(3, (-1.0, 1.0, 1.0))

    monkeypatch.setattr(pairs, "register", fold)
    status, printed, _ = run_command(
        register_pairs, "--config", config, "--out", tmp_path, "--subjects", "b"
    )
    assert status == 0
    assert "refused: it folds" in printed
    found = json.loads((tmp_path / "registration.json").read_text())["subjects"]["b"]
    assert found["chosen"] == pairs.RIGID
    assert found["before"] == found["after"]
    # The pair is the one that was there, on the grid of the MR.
    ct = nib.load(config.parent / "b_ct.nii.gz").get_fdata()[4:-4, 3:-3]
    np.testing.assert_allclose(nib.load(tmp_path / "b" / "ct.nii.gz").get_fdata(), ct, atol=0.51)
    assert not (tmp_path / "supervised.yaml").exists()


def forbid_registration(monkeypatch):
    def fail(*_):
        raise AssertionError("nothing may be registered")

    monkeypatch.setattr(pairs, "register", fail)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_volumes_that_are_read_are_never_replaced(tmp_path, monkeypatch):
    forbid_registration(monkeypatch)
    root = tmp_path / "patients"
    write_phantom(root / "inside" / "a", "a")
    lines = entry("a", "train").replace("a_", "inside/a/a_")
    lines += entry("b", "train", ct=False).replace("b_", "inside/a/a_")
    config = write_config(root, lines)
    before = contents(root)
    (tmp_path / "link").symlink_to(root)
    for out in (root, tmp_path, tmp_path / "link", root / "inside"):
        message = user_error(register_pairs, "--config", config, "--out", out)
        assert f"--out {out}" in message
        assert "Choose another folder with --out" in message
        assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["a/notes.txt", "a/ct.nii.gz", "c", "config.yaml"])
def test_what_no_earlier_run_wrote_is_not_replaced(config, tmp_path, monkeypatch, name):
    forbid_registration(monkeypatch)
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    message = user_error(register_pairs, "--config", config, "--out", tmp_path)
    assert str(file.parent) in message
    assert f"since: {file.name}. It would be replaced" in message
    assert list(contents(tmp_path)) == [file]


def test_a_run_repeats_into_its_own_folder_until_a_file_is_changed(registered, config, tmp_path):
    out = shutil.copytree(registered[0], tmp_path / "copy")
    arguments = ("--config", config, "--out", out)
    before = (out / "a" / "ct.nii.gz").read_bytes()
    (out / "a" / "ct.nii.gz").unlink()
    assert run_command(register_pairs, *arguments, "--subjects", "b")[0] == 0
    assert (out / "a" / "ct.nii.gz").is_file()
    assert (out / "a" / "ct.nii.gz").read_bytes() != before  # copied: it is not on the MR's grid
    assert not (out / "supervised.yaml").exists()
    (out / "config.yaml").write_text("edited")
    assert "config.yaml" in user_error(register_pairs, *arguments)


def test_errors_name_the_files_of_the_user(tmp_path):
    root = tmp_path / "data"
    write_phantom(root, "a")
    config = write_config(root, entry("a", "train") + entry("b", "train", ct=False))
    shutil.copy(root / "a_mr.nii.gz", root / "b_mr.nii.gz")
    arguments = ("--config", config, "--out", tmp_path / "out")
    image = nib.load(root / "a_mr.nii.gz")
    # Only a corner of the MR lies in the CT, and it shows air.
    moved = image.affine.copy()
    moved[:3, 3] += image.affine[:3, :3] @ [62, 58, 0]
    nib.save(nib.Nifti1Image(image.dataobj, moved), root / "a_mr.nii.gz")
    message = user_error(register_pairs, *arguments)
    assert message.startswith(f"subject a cannot be registered: {root / 'a_ct.nii.gz'}: the CT has")
    assert f"covers only 0.78 % of {root / 'a_mr.nii.gz'}" in message  # (6 * 5 of 64 * 60 columns)
    constant = np.full(image.shape, 7, np.float32)
    nib.save(nib.Nifti1Image(constant, image.affine), root / "a_mr.nii.gz")
    message = user_error(register_pairs, *arguments)
    assert message.startswith(f"subject a cannot be registered: {root / 'a_mr.nii.gz'} is almost")
    assert "partial" not in message
    assert not list((tmp_path / "out").iterdir())


def test_a_folder_that_cannot_be_made_is_named(config, tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", "/proc/x"):
        message = user_error(register_pairs, "--config", config, "--out", out)
        assert message.startswith(f"cannot write to {out}: ")
    status, _, printed = run_command(
        register_pairs, "--config", config, "--out", tmp_path, "--seed", 1099511627776
    )
    assert (status, "--seed" in printed) == (2, True)


def test_an_implausible_pair_is_warned_of(config, tmp_path, monkeypatch):
    def squeeze(*_):  # a sound registration, but for its Jacobian
        return np.full(SHAPE, 0.28)

    monkeypatch.setattr(pairs, "jacobian", squeeze)
    arguments = ("--config", config, "--out", tmp_path, "--subjects", "b")
    status, printed, _ = run_command(register_pairs, *arguments)
    assert status == 0
    words = " ".join(printed.split())
    assert "warning: b: look at this pair, it may be wrong: the deformation shrinks some" in words
    [warning] = json.loads((tmp_path / "registration.json").read_text())["subjects"]["b"][
        "warnings"
    ]
    assert "28 %" in warning


def test_what_cannot_be_registered_is_refused(config, tmp_path, monkeypatch):
    arguments = ("--config", config, "--out", tmp_path)
    assert "Subjects with ct and image: a, b" in user_error(
        register_pairs, *arguments, "--subjects", "a,c"
    )
    for none in ("", ",", " "):
        message = user_error(register_pairs, *arguments, "--subjects", none)
        assert message == "--subjects names no subject. Subjects with ct and image: a, b."
    assert "no subject with ct and image" in user_error(
        register_pairs, *arguments, "--split", "validation"
    )
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    assert "pip install 'medusis_tf[registration]'" in user_error(register_pairs, *arguments)
    assert not list(tmp_path.iterdir())
    logging.getLogger("medusis_tf").handlers.clear()

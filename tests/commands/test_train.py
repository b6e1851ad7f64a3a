"""Errors that `medusis train` reports before training."""

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import yaml

from medusis_tf.commands.train import train
from tests.command_runner import run_command, user_error
from tests.training.tiny_experiment import tiny_experiment

SHAPE = (20, 20, 6)


def write_volume(path, array, spacing=(2.0, 2.0, 4.0)):
    nib.save(nib.Nifti1Image(array, np.diag([*spacing, 1.0])), path)


@pytest.fixture
def config_file(tmp_path):
    """Write a configuration and its volumes."""
    label_map = np.zeros(SHAPE, np.uint8)
    label_map[4:16, 4:16] = 2
    image = np.random.default_rng(0).normal(500, 50, SHAPE).astype(np.float32)
    write_volume(tmp_path / "a.nii.gz", label_map)
    write_volume(tmp_path / "b.nii.gz", image * (label_map > 0))
    config = tiny_experiment(
        runs_dir=str(tmp_path / "runs"),
        data={
            "root": str(tmp_path),
            "cache_dir": str(tmp_path / "cache"),
            "field_of_view_mm": [40, 40],
        },
    )
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return path


def test_dry_run_prints_the_whole_configuration_and_writes_nothing(config_file):
    status, out, err = run_command(train, "--config", config_file, "--dry-run", "training.steps=9")
    assert (status, err) == (0, "")
    printed = yaml.safe_load(out)
    assert printed["training"]["steps"] == 9
    assert printed["optimizers"]["segmenter"]["beta_1"] == 0.0
    assert not (config_file.parent / "runs").exists()


@pytest.mark.parametrize("ties", ["{marow: fat}", "{bone: fatt}", "{bone: tumour, tumour: bone}"])
def test_wrong_ties_are_refused_before_anything_is_prepared(config_file, ties):
    status, out, err = run_command(
        train, "--config", config_file, "--dry-run", f"appearance.ties={ties}"
    )
    assert (status, out) == (2, "")
    assert "appearance.ties" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(("arguments", "status"), [(["--help"], 0), (["seed=x"], 2)])
def test_help_and_configuration_errors_need_no_tensorflow(config_file, arguments, status):
    script = (
        "import runpy, sys\n"
        f"sys.argv = ['train', '--config', {str(config_file)!r}, *{arguments}]\n"
        "try: runpy.run_module('medusis_tf.train', run_name='__main__')\n"
        "except SystemExit as end: print(end.code, 'tensorflow' in sys.modules)\n"
    )
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == f"{status} False"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.step=5", "unknown key; did you mean steps?"),
        ("training.batch_size=many", "Received: 'many'"),
        ("data.image_size=[40, 40]", "the discriminator needs a data.image_size with a short side"),
        ("data.image_size=[33, 32]", "the generator needs a data.image_size with sides divisible"),
        ("data.subjects=[]", "data.subjects"),
        ("data.root=/nowhere", "/nowhere"),
        ("steps", "an override must be key=value"),
    ],
)
def test_an_invalid_setting_is_reported(config_file, override, message):
    assert message in user_error(train, "--config", config_file, override)


def test_a_missing_configuration_is_reported(tmp_path):
    assert "absent.yaml" in user_error(train, "--config", tmp_path / "absent.yaml")


def test_a_missing_volume_is_reported(config_file):
    (config_file.parent / "b.nii.gz").unlink()
    assert "b.nii.gz" in user_error(train, "--config", config_file)


def test_an_unknown_class_is_reported_with_its_file_slice_and_ids(config_file):
    label_map = np.zeros(SHAPE, np.uint8)
    label_map[4:16, 4:16] = 2
    label_map[8, 8, 3] = 9
    write_volume(config_file.parent / "a.nii.gz", label_map)
    message = user_error(train, "--config", config_file)
    assert "a.nii.gz" in message
    assert "not in data.classes: 9" in message
    assert "axial slice 3" in message


def test_an_image_and_a_label_map_on_different_grids_are_reported(config_file):
    folder = config_file.parent
    write_volume(folder / "c.nii.gz", np.ones(SHAPE, np.float32), spacing=(2.0, 2.0, 3.0))
    both = "{subject: c, split: train, label_map: a.nii.gz, image: c.nii.gz}"
    a, b = (
        "{subject: a, split: train, label_map: a.nii.gz}",
        "{subject: b, split: train, image: b.nii.gz}",
    )
    message = user_error(train, "--config", config_file, f"data.subjects=[{a}, {b}, {both}]")
    assert "a.nii.gz" in message
    assert "c.nii.gz" in message
    assert "mm" in message


def test_a_stream_without_slices_is_reported(config_file):
    write_volume(config_file.parent / "a.nii.gz", np.zeros(SHAPE, np.uint8))
    assert "label_map" in user_error(train, "--config", config_file)


def test_a_folder_that_cannot_be_written_is_reported(config_file):
    (config_file.parent / "file").touch()
    place = config_file.parent / "file" / "runs"
    assert str(place) in user_error(train, "--config", config_file, f"runs_dir={place}")


def test_a_run_is_not_overwritten_and_a_missing_one_not_resumed(config_file):
    run_dir = config_file.parent / "runs" / "tiny"
    assert "nothing to resume" in user_error(train, "--config", config_file, "--resume")
    run_dir.mkdir(parents=True)
    (run_dir / "config.yaml").touch()
    assert "already holds a run" in user_error(train, "--config", config_file)

import json
import shutil

import pytest
import tensorflow as tf
import yaml

from medusis_tf.commands.export import export
from medusis_tf.serving.metadata import read_metadata
from tests.command_runner import run_command, user_error
from tests.serving.small_run import STEP, make_model, make_run


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run(tmp_path_factory)


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    return make_model(tmp_path_factory) / "1"


def test_a_second_export_becomes_version_2(run_dir, version, tmp_path):
    # A copy: other files of the tests use the same model, and expect one version.
    model_dir = shutil.copytree(version.parent, tmp_path / "small")
    version = model_dir / "1"
    before = {path: path.stat().st_mtime_ns for path in version.rglob("*")}
    status, out, _ = run_command(export, "--run", run_dir, "--out", model_dir.parent)
    assert status == 0
    assert f"wrote {model_dir / '2'} " in out
    assert sorted(path.name for path in model_dir.iterdir()) == ["1", "2"]
    assert {path: path.stat().st_mtime_ns for path in version.rglob("*")} == before
    assert {str(path.relative_to(model_dir / "2")) for path in model_dir.glob("2/**/*")} >= {
        "saved_model.pb",
        "variables/variables.index",
        "assets.extra/medusis.json",
        "assets.extra/tf_serving_warmup_requests",
    }


def test_metadata_describe_the_model(run_dir, version):
    metadata = read_metadata(version)
    assert (metadata.name, metadata.step, metadata.stride) == ("small", STEP, 4)
    assert [entry.name for entry in metadata.classes] == ["background", "fat", "muscle"]
    assert (metadata.image_size, metadata.spacing_mm) == ((32, 32), (2.5, 2.5))
    assert (metadata.noise_shape, metadata.image_channels) == ((4,), 1)
    # Training uses the image of subject b only: background 10 and fat 400, noise of 5 on both.
    subjects = json.loads((run_dir / "manifest.json").read_text())["subjects"]
    (scale,) = next(entry["intensity"] for entry in subjects if entry["subject"] == "b")
    assert metadata.intensity.source == pytest.approx(scale["source"])
    assert metadata.intensity.scaled == (-1, 1)
    assert metadata.trained["versions"].keys() >= {"tensorflow", "keras", "medusis_tf"}
    assert metadata.exported["created"] >= metadata.trained["created"]


def test_metadata_do_not_identify_training_subjects(run_dir, version):
    text = (version / "assets.extra" / "medusis.json").read_text()
    assert "labels.nii.gz" not in text
    assert str(run_dir.parent.parent) not in text


SIMILARITY = '"name": "m", "similarity": {"slice": {"ssim": {"mean": MEAN}}}'
METHODS = '{"methods": [{"kind": "model", %s}]}'


@pytest.mark.parametrize(
    "text",
    [
        *("[1]", "[" * 200_000, '{"methods": 1}', METHODS % '"other": 1'),
        *(METHODS % SIMILARITY.replace("MEAN", mean) for mean in ("[1]", '"a"')),
    ],
)
def test_damaged_metrics_do_not_prevent_an_export(run_dir, tmp_path, text):
    run = shutil.copytree(run_dir, tmp_path / "small")
    metrics = run / "evaluation" / "last" / "metrics.json"
    metrics.parent.mkdir(parents=True, exist_ok=True)
    metrics.write_text(text)
    status, _, _ = run_command(export, "--run", run, "--out", tmp_path / "models")
    assert status == 0
    card = (tmp_path / "models" / "small" / "1" / "MODEL_CARD.md").read_text()
    assert "its metrics.json cannot be read" in card


def test_a_wrong_manifest_is_one_sentence(run_dir, tmp_path):
    run = shutil.copytree(run_dir, tmp_path / "small")
    for text, expected in (
        ('{"image_size": "large", "files": 3}', "manifest.json: it is no manifest: "),
        ("[]", "cannot read"),
    ):
        (run / "manifest.json").write_text(text)
        message = user_error(export, "--run", run, "--out", tmp_path / "models")
        assert expected in message
        assert "\n" not in message and "pydantic" not in message


def test_a_configuration_of_another_size_is_refused(run_dir, tmp_path):
    run = shutil.copytree(run_dir, tmp_path / "small")
    values = yaml.safe_load((run / "config.yaml").read_text())
    values["data"]["image_size"] = [64, 64]
    (run / "config.yaml").write_text(yaml.safe_dump(values))
    message = user_error(export, "--run", run, "--out", tmp_path / "models")
    assert "trained with slices of [32, 32] pixels" in message


def test_impossible_exports_are_reported(run_dir, tmp_path):
    message = user_error(export, "--run", tmp_path / "missing", "--out", tmp_path)
    assert "missing is not a run" in message
    (tmp_path / "small" / "3").mkdir(parents=True)
    message = user_error(export, "--run", run_dir, "--out", tmp_path, "--version", 3)
    assert "small/3 exists already" in message
    (tmp_path / "file").write_text("")
    message = user_error(export, "--run", run_dir, "--out", tmp_path / "file")
    assert "cannot write the model to" in message
    assert "--out" in message


def test_a_run_without_checkpoint_is_reported(run_dir, tmp_path):
    (tmp_path / "config.yaml").write_text((run_dir / "config.yaml").read_text())
    assert "no checkpoint in" in user_error(export, "--run", tmp_path, "--out", tmp_path)


def test_a_failed_export_leaves_no_file(run_dir, tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    message = user_error(export, "--run", run_dir, "--out", tmp_path)
    assert "No space left on device" in message
    assert list((tmp_path / "small").iterdir()) == []

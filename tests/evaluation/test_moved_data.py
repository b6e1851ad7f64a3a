"""The remedies that the message about a missing data.root names."""

import shutil
from pathlib import Path

import pytest

from medusis_tf.errors import UserError
from medusis_tf.evaluation.moved_data import located
from tests.serving.small_run import experiment


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MEDUSIS_DATA", raising=False)
    made = experiment(tmp_path, {"noise_dim": 4})
    data = made.data.model_copy(update={"root": Path("data"), "cache_dir": Path("cache")})
    (tmp_path / "data").mkdir()
    return made.model_copy(update={"data": data, "runs_dir": Path("runs")})


def test_data_in_their_place_change_nothing(config, monkeypatch, tmp_path):
    monkeypatch.setenv("MEDUSIS_DATA", str(tmp_path))
    assert located(config, config.run_dir) is config


def test_the_variable_replaces_a_missing_folder(config, monkeypatch, tmp_path):
    shutil.move(tmp_path / "data", tmp_path / "store")
    assert located(config, config.run_dir) is config  # nothing found: the message is for later
    monkeypatch.setenv("MEDUSIS_DATA", str(tmp_path / "store"))
    assert located(config, config.run_dir).data.root == tmp_path / "store"


def test_an_override_names_the_folder(config, tmp_path):
    found = located(config, config.run_dir, ["data.root=/elsewhere"])
    assert found.data.root == Path("/elsewhere")
    assert found.data.subjects == config.data.subjects
    with pytest.raises(UserError, match=r"data\.KEY=VALUE\. Received: 'training\.steps=1'"):
        located(config, config.run_dir, ["training.steps=1"])


def test_a_relative_folder_is_found_from_another_working_folder(config, monkeypatch, tmp_path):
    run_dir = tmp_path / config.run_dir
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    found = located(config, run_dir).data
    assert (found.root, found.cache_dir) == (tmp_path / "data", tmp_path / "cache")

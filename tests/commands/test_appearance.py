"""Output, files and error messages of `appearance`."""

import json

import numpy as np
import pytest
import yaml

from medusis_tf.commands.appearance import appearance
from tests.appearance.phantom_data import CLASSES, phantom_experiment
from tests.command_runner import run_command, user_error


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    experiment, _ = phantom_experiment(folder, labels=3, images=2, cache="shards")
    path = folder / "phantoms.yaml"
    path.write_text(yaml.safe_dump(experiment.model_dump(mode="json")))
    return path


def test_the_files_and_the_table_show_every_class(config, tmp_path):
    status, out, err = run_command(
        appearance, "--config", config, "--out", tmp_path, "appearance.contrast=t1"
    )
    assert status == 0, err
    assert all(name in out for name in CLASSES)
    content = json.loads((tmp_path / "appearance.json").read_text())
    assert [each["name"] for each in content["classes"]] == CLASSES
    assert np.array(content["quantiles"]).shape == (len(CLASSES), 32)
    with np.load(tmp_path / "pseudo_labels" / f"{content['subjects'][0]}.npz") as arrays:
        assert arrays["labels"].shape == arrays["certainty"].shape
    page = (tmp_path / "report.html").read_text()
    assert "slices of the original images" in page
    assert page.count("<polyline") == 2 * len(CLASSES)
    assert "http" not in page.replace("http-equiv", "")


def test_slices_in_memory_need_a_folder(config):
    message = user_error(appearance, "--config", config, "data.cache=memory")
    assert "--out" in message

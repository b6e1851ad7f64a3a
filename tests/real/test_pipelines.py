"""The pipelines on the real volumes: every file listed once, every role as described."""

import pytest

from medusis_tf.commands.prepare_brain import prepare_brain
from medusis_tf.commands.prepare_thigh import prepare_thigh
from medusis_tf.commands.train import train
from medusis_tf.config.subject_manifest import read_manifest
from medusis_tf.methods.experiment import load_config
from tests.command_runner import run_command


@pytest.fixture
def configs(request):
    return request.config.rootpath / "configs"


def listed(command, root, out, *arguments):
    status, _, err = run_command(command, "--root", root, "--out", out, *arguments)
    assert status == 0, err
    return read_manifest(out)


def test_thigh_manifest_is_the_configurations_list(shared_data, configs, tmp_path):
    listed(prepare_thigh, shared_data, tmp_path / "thigh.csv")
    root = f"data.root={shared_data}"
    path = configs / "thigh_ct_to_mr.yaml"
    swapped = [root, "data.subjects=null", f"data.manifest={tmp_path / 'thigh.csv'}"]
    assert load_config(path, swapped) == load_config(path, [root])


@pytest.mark.parametrize("same_source", [False, True])
def test_brain_manifest_is_complete_and_valid(shared_data, configs, tmp_path, same_source):
    out = tmp_path / "brain.csv"
    flags = ["--same-source"] if same_source else []
    subjects = listed(prepare_brain, shared_data, out, *flags)
    images = {entry["image"] for entry in subjects if "image" in entry}
    heads = {
        f"ixi_t1_dlmuse/t1/{path.name}" for path in (shared_data / "ixi_t1_dlmuse/t1").iterdir()
    }
    assert images == heads
    sources = [entry.get("label_source") for entry in subjects]
    assert sources.count("synthseg") == (0 if same_source else 6)
    assert sources.count("dlmuse") == (7 if same_source else 2)
    overrides = [f"data.root={shared_data}", f"data.manifest={out}"]
    path = configs / "brain_labels_to_t1.yaml"
    status, _, err = run_command(train, "--config", path, *overrides, "--dry-run")
    assert status == 0, err
    data = load_config(path, [*overrides, "data.pairing=disjoint"]).data
    assert data.num_classes == 20
    assert {entry.split for entry in data.subjects} == {"train", "test"}

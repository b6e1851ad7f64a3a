import json
from pathlib import Path

import numpy as np
import pytest

from medusis_tf.methods.experiment import save_config
from medusis_tf.studies.train_and_evaluate import (
    evaluation_path,
    images_path,
    read_steps,
    train_and_evaluate,
)
from tests.command_runner import run_command, user_error
from tests.methods.stub_method import registered_stub, stub_experiment
from tests.training.phantom_data import phantom_data


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    path = folder / "stub.yaml"
    save_config(stub_experiment(data=phantom_data(tmp_path_factory)), path)
    with registered_stub():
        yield ["--config", path, f"runs_dir={folder}", "name=one"]


def test_each_step_count_is_evaluated_once_and_a_run_resumes(arguments):
    run_dir = Path(arguments[2].removeprefix("runs_dir=")) / "one"
    status, _, _ = run_command(train_and_evaluate, "--steps", "2", *arguments)
    assert status == 0
    first = evaluation_path(run_dir, 2)
    before = first.stat().st_mtime_ns
    status, printed, _ = run_command(train_and_evaluate, "--steps", "2,4", *arguments)
    assert (status, first.stat().st_mtime_ns) == (0, before)
    assert "step 4/4" in printed
    second = json.loads(evaluation_path(run_dir, 4).read_text())
    assert second["model"]["step"] == 4
    assert second["methods"][0]["outline"]["dice"]["mean"] <= 1
    assert evaluation_path(run_dir, 4).with_name("report.html").is_file()
    with np.load(images_path(run_dir, 4)) as images:
        assert images["image"].shape == images["label_map"].shape == (4, 32, 32)
    assert "nothing to do" in run_command(train_and_evaluate, "--steps", "2,4", *arguments)[1]
    assert "is at step 4" in user_error(train_and_evaluate, "--steps", "3", *arguments)


@pytest.mark.parametrize("text", ["", "0", "10,", "1.5", "ten", "1000000000000"])
def test_step_counts_are_whole_numbers(text, arguments):
    assert "whole numbers" in user_error(train_and_evaluate, "--steps", text, *arguments)


def test_step_counts_are_sorted():
    assert read_steps("1000,500,500") == [500, 1000]

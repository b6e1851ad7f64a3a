"""Two worker processes on this machine train like one device, and survive each other."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medusis_tf.methods.experiment import save_config
from medusis_tf.runs.checkpoints import load_painter, load_segmenter
from tests.training.phantom_data import phantom_data
from tests.training.tiny_experiment import tiny_experiment

ROOT = Path(__file__).parents[2]
STEPS = 10
# See test_distribution.py.
ADAM = {"learning_rate": 1e-3, "epsilon": 1e-3}
# Seconds without a sign of life, which comes from a thread of its own while a step is computed.
TIMEOUT = 30


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    config = tiny_experiment(
        name="one",
        runs_dir=str(folder / "runs"),
        data=phantom_data(tmp_path_factory),
        optimizers=dict.fromkeys(("generator", "segmenter", "discriminator"), ADAM),
        # Almost nothing, but its values are compared: where pixels are equal but for rounding,
        # their order decides which one gets the gradient. 1e-3 moved weights by 1e-4 in 10 steps.
        loss_weights={"class_quantiles": 1e-5},
        training={
            "steps": STEPS,
            "batch_size": 8,
            "log_interval": 5,
            "checkpoint_interval": 5,
            "panel_interval": 100,
            "ema": {"decay": 0.9, "refresh_batches": 1},
            "validation": {"slices": 2},
            "worker_timeout": TIMEOUT,
        },
    )
    save_config(config, folder / "config.yaml")
    return folder / "config.yaml"


def free_ports(count):
    with_ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in with_ports]
    for each in with_ports:
        each.close()
    return ports


def start(config, tf_config, *arguments, dies_before=0):
    """Start `medusis train` in a process of its own."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = str(ROOT)
    if tf_config is not None:
        environment["TF_CONFIG"] = json.dumps(tf_config)
    program = [sys.executable, "-m", "tests.training.worker_program", str(dies_before)]
    command = [*program, "--config", str(config), *arguments]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def start_two(config, *arguments, dies_before=0):
    """Start a chief and a worker, which may die."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    return [
        start(
            config,
            {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}},
            "training.strategy=multi_worker",
            *arguments,
            dies_before=dies_before if index == 1 else 0,
        )
        for index in range(2)
    ]


def finish(process):
    # Raises if the process never ends. What a shared machine needs for that is not asserted.
    out, err = process.communicate(timeout=600)
    return process.returncode, out, err


def metrics(run_dir):
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return {(e["step"], key): value for e in map(json.loads, lines) for key, value in e.items()}


def test_two_workers_of_which_one_died_end_with_the_weights_of_one_device(config):
    runs = config.parent / "runs"
    assert finish(start(config, None, "training.strategy=one_device"))[0] == 0

    chief, other = start_two(config, "name=two", dies_before=7)
    finish(other)
    status, out, err = finish(chief)
    assert (status, other.returncode) == (2, -9)
    assert err.splitlines()[-1].startswith("error: another worker ended or does not answer"), err
    assert "Traceback" not in err
    assert "worker 0 of 2" in out

    results = [finish(each) for each in start_two(config, "name=two", "--resume")]
    assert [status for status, _, _ in results] == [0, 0], results
    # Only the chief writes and reports.
    assert "step 10/10" in results[0][1]
    assert results[1][1].splitlines()[-1] == "worker 1 of 2"

    for load in (lambda run: load_painter(run)[1], lambda run: load_segmenter(run)[1]):
        for weight, expected in zip(
            load(runs / "two").weights, load(runs / "one").weights, strict=True
        ):
            np.testing.assert_allclose(weight, expected, atol=1e-5, err_msg=weight.path)
    found, expected = metrics(runs / "two"), metrics(runs / "one")
    compared = [key for key in expected if key[1].startswith(("losses/", "validation/"))]
    assert (10, "validation/outline_dice") in compared
    for key in compared:
        assert found[key] == pytest.approx(expected[key], rel=1e-3, abs=1e-3), key


@pytest.mark.parametrize("index", [0, 1])
def test_a_worker_without_the_other_says_so(config, index):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    tf_config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    waits = ("name=alone", "training.strategy=multi_worker", "training.worker_timeout=1")
    status, _, err = finish(start(config, tf_config, *waits))
    assert status == 2
    assert "not found each other within 10 seconds" in err.splitlines()[-1]
    assert addresses[1 - index] in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_chief_that_waits_can_be_stopped(config, number):
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    tf_config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": 0}}
    chief = start(config, tf_config, "name=stopped", "training.strategy=multi_worker")
    while "waiting for worker 1" not in chief.stdout.readline():
        assert chief.poll() is None
    chief.send_signal(number)
    assert finish(chief)[0] == 128 + number

"""Which worker a process is, and what is wrong with TF_CONFIG, SLURM or a port."""

import json
import socket

import pytest

from medusis_tf.errors import UserError
from medusis_tf.methods.cluster import find_worker, start_workers
from medusis_tf.methods.distribution import make_strategy

TWO = ["a:9000", "b:9000"]


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    for name in ("TF_CONFIG", "SLURM_PROCID", "SLURMD_NODENAME"):
        monkeypatch.delenv(name, raising=False)


def set_config(monkeypatch, cluster, task):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))


@pytest.mark.parametrize(
    ("cluster", "task", "number", "count"),
    [
        ({"worker": TWO}, {"type": "worker", "index": 1}, 1, 2),
        ({"chief": ["c:1"], "worker": TWO}, {"type": "chief", "index": 0}, 0, 3),
        ({"chief": ["c:1"], "worker": TWO}, {"type": "worker", "index": "1"}, 2, 3),
        ({"worker": ["a:9000"]}, {"type": "worker", "index": 0}, 0, 1),
    ],
)
def test_tf_config_numbers_the_workers_and_the_chief_is_the_first(
    cluster, task, number, count, monkeypatch
):
    set_config(monkeypatch, cluster, task)
    worker = find_worker()
    assert (worker.number, worker.count, worker.is_chief) == (number, count, number == 0)
    assert worker.address == cluster[task["type"]][int(task["index"])]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "is not JSON"),
        ("[]", "must be an object with the keys cluster and task"),
        ('{"cluster": {"worker": ["a:1"]}}', "must be an object with the keys cluster and task"),
        ('{"cluster": {"ps": ["a:1"]}, "task": {}}', "lists ps"),
        ('{"cluster": {"worker": "a:1"}, "task": {}}', "addresses of worker as host:port"),
        ('{"cluster": {"worker": ["a"]}, "task": {}}', "addresses of worker as host:port"),
        ('{"cluster": {"worker": ["a:99999"]}, "task": {}}', "addresses of worker as host:port"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {}}', "lists one address twice"),
        ('{"cluster": {"chief": ["a:1", "b:1"]}, "task": {}}', "more than one chief"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "chief"}}', "this task, 'chief'"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker"}}', "gives None"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            "the index 1, but lists 1 of type worker",
        ),
    ],
)
def test_a_wrong_tf_config_is_one_message(text, problem, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError) as error:
        find_worker()
    assert str(error.value).startswith("TF_CONFIG ")
    assert problem in str(error.value)
    assert f"Received: {text}." in str(error.value)


def test_without_addresses_the_message_says_where_they_come_from():
    with pytest.raises(UserError, match="neither TF_CONFIG nor a SLURM job"):
        make_strategy("multi_worker", 4)


def test_slurm_lists_the_tasks_of_all_nodes(monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "2")
    monkeypatch.setenv("SLURM_JOB_ID", "20007")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "3")
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node[4-5]")
    monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", "2,1")
    worker = find_worker()
    assert worker.addresses == {"worker": ["node4:12007", "node4:12008", "node5:12007"]}
    assert (worker.number, worker.count, worker.address) == (2, 3, "node5:12007")


SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NODELIST": "node[9-10]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}


@pytest.mark.parametrize(("rank", "node"), [(0, "node9"), (1, "node9"), (2, "node10")])
def test_the_tasks_of_slurm_have_the_addresses_of_their_own_nodes(monkeypatch, rank, node):
    for name, value in {**SLURM, "SLURM_PROCID": str(rank), "SLURMD_NODENAME": node}.items():
        monkeypatch.setenv(name, value)
    assert find_worker().address == f"{node}:{12077 + rank % 2}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"SLURMD_NODENAME": "node10"}, "task 0 of SLURM runs on node10, .*distribution=block"),
        ({"SLURM_STEP_NODELIST": "n[1-99999999]"}, "more than 10000 nodes"),
        ({"SLURM_JOB_ID": "abc"}, "do not describe the workers: .*'abc'"),
    ],
)
def test_wrong_variables_of_slurm_are_one_message(monkeypatch, changes, message):
    for name, value in {**SLURM, "SLURM_PROCID": "0", **changes}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message):
        find_worker()


def test_slurm_variables_of_no_step_are_one_message(monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "0")
    with pytest.raises(UserError, match="variables of SLURM do not describe the workers"):
        find_worker()


def test_a_port_in_use_is_one_message(monkeypatch):
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104
        port = server.getsockname()[1]
        cluster = {"worker": [f"127.0.0.1:{port}", "127.0.0.1:1"]}
        set_config(monkeypatch, cluster, {"type": "worker", "index": 0})
        with pytest.raises(UserError, match=f"cannot listen at 127.0.0.1:{port}: Address already"):
            start_workers(find_worker(), 1)


def test_an_uneven_batch_is_refused_before_the_workers_connect(monkeypatch):
    set_config(monkeypatch, {"worker": TWO}, {"type": "worker", "index": 0})
    with pytest.raises(UserError, match=r"divisible by the number of workers \(2\). Received: 3"):
        make_strategy("multi_worker", 3)

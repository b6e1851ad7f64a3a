"""A run in MLflow and in Weights & Biases. The tools write to the folder of the run."""

import json
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest

from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.errors import UserError
from medusis_tf.runs import trackers
from medusis_tf.runs.records import Records
from medusis_tf.runs.run_dir import check_run_dir
from medusis_tf.runs.trackers import RunFacts, Tracker, Trackers
from medusis_tf.training.loop import TrainingLoop
from tests.methods.stub_method import registered_stub, stub_experiment
from tests.training.phantom_data import phantom_data
from tests.training.tiny_experiment import tiny_experiment

FACTS = RunFacts("small", {"training.batch_size": 4, "data.image_size": "32 x 32"}, "train: 3")


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """No settings of the machine; the home folder of tools is empty."""
    for name in list(os.environ):
        if name.startswith(("MLFLOW_", "WANDB_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Return a function that makes an experiment of the smallest method."""
    places = {
        "runs_dir": str(tmp_path_factory.mktemp("runs")),
        "data": phantom_data(tmp_path_factory),
    }

    def make(name, *used):
        training = {
            "trackers": used,
            "log_interval": 1,
            "panel_interval": 2,
            "checkpoint_interval": 2,
            "validation": {"interval": 2, "slices": 2},
        }
        return stub_experiment(name=name, **places, training=training)

    with registered_stub():
        yield make


def interrupt_and_resume(config):
    """Train 2 steps, then 2 more."""
    shards = prepare_shards(config)
    TrainingLoop(config, shards).run(until=2)
    TrainingLoop(config, shards).run(resume=True, until=4)


def read_metrics(config):
    lines = (config.run_dir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_mlflow_continues_one_run_in_the_folder_of_the_run(experiment):
    mlflow = pytest.importorskip("mlflow")
    config = experiment("with_mlflow", "mlflow")
    interrupt_and_resume(config)
    client = mlflow.MlflowClient(f"sqlite:///{config.run_dir / 'mlflow' / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("medusis_tf").experiment_id])
    assert found.info.run_name == "with_mlflow"
    assert found.info.status == "FINISHED"
    assert found.data.params["training.batch_size"] == "4"
    assert "data.root" not in found.data.params
    for name in ("losses/difference", "learning_rate/trained", "validation/outline_dice"):
        history = client.get_metric_history(found.info.run_id, name)
        expected = [(line["step"], line[name]) for line in read_metrics(config) if name in line]
        assert [(metric.step, metric.value) for metric in history] == expected
    names = [each.path for each in client.list_artifacts(found.info.run_id, "images")]
    steps = {int(name.split("+step+")[1].split("+")[0]) for name in names}
    assert steps == {2, 4}
    assert {each.path for each in client.list_artifacts(found.info.run_id)} == {
        "data.txt",
        "images",
    }


def test_wandb_continues_one_offline_run_in_the_folder_of_the_run(experiment, tmp_path):
    pytest.importorskip("wandb")
    config = experiment("with_wandb", "wandb")
    interrupt_and_resume(config)
    first, second = sorted(config.run_dir.glob("wandb/offline-run-*/*.wandb"))
    assert first.name == second.name
    started, *_ = [record.run for record in wandb_records(first) if record.HasField("run")]
    settings = {each.key: json.loads(each.value_json) for each in started.config.update}
    assert started.display_name == "with_wandb"
    assert started.project == "medusis_tf"
    assert started.notes.startswith("train: 2 subjects")
    assert settings["training.batch_size"] == 4
    assert "data.root" not in settings
    # W&B writes in a process of its own, which may end later on a busy machine.
    deadline = time.monotonic() + 60
    while len(list(wandb_history(second))) < 2 and time.monotonic() < deadline:
        time.sleep(0.5)
    lines = [*wandb_history(first), *wandb_history(second)]
    assert [line["_step"] for line in lines] == [1, 2, 3, 4]
    for line, expected in zip(lines, merge_steps(read_metrics(config)), strict=True):
        assert {name: line[name] for name in expected} == expected
        assert ("panel" in line) == (line["_step"] in (2, 4))
    machine = [each.environment for each in wandb_records(first) if each.HasField("environment")]
    assert not [each for each in machine if each.args or each.program or each.host]
    assert not (tmp_path / "home").exists()


def wandb_records(path: Path):
    """Yield the records of an offline run: blocks of 32 KiB as in LevelDB, after 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    content, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        size, kind = struct.unpack("<HB", content[place + 4 : place + 7])
        whole += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # a whole record, or its last piece
            yield wandb_internal_pb2.Record.FromString(whole)
            whole = b""


def wandb_history(path):
    for record in wandb_records(path):
        if record.HasField("history"):
            yield {
                each.key or each.nested_key[0]: json.loads(each.value_json)
                for each in record.history.item
            }


def merge_steps(lines):
    merged = {}
    for line in lines:
        values = {name: value for name, value in line.items() if name != "step"}
        merged.setdefault(line["step"], {}).update(values)
    return list(merged.values())


def test_a_run_that_the_store_does_not_have_is_named(tmp_path):
    pytest.importorskip("mlflow")
    (tmp_path / "trackers.json").write_text('{"mlflow": "0123456789abcdef"}')
    with pytest.raises(UserError, match=r"mlflow cannot continue its run 0123456789abcdef of .*"):
        Trackers(("mlflow",), tmp_path, FACTS)


def test_a_run_that_was_moved_goes_on_without_writing_to_its_old_place(tmp_path, caplog):
    mlflow = pytest.importorskip("mlflow")
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    first = Trackers(("mlflow",), old, FACTS)
    first.scalars(1, {"losses/a": 1.0})
    first.close(finished=False)
    old.rename(new)
    second = Trackers(("mlflow",), new, FACTS)
    second.scalars(2, {"losses/a": 0.5})
    second.image(2, "panel", np.zeros([8, 8, 3], np.uint8))
    second.close(finished=True)
    assert not old.exists()
    [warning] = [line.getMessage() for line in caplog.records if "moved" in line.message]
    assert warning == f"{new} was moved: MLflow records no more panels of it"
    client = mlflow.MlflowClient(f"sqlite:///{new / 'mlflow' / 'mlflow.db'}")
    run_id = json.loads((new / "trackers.json").read_text())["mlflow"]
    history = client.get_metric_history(run_id, "losses/a")
    assert [(each.step, each.value) for each in history] == [(1, 1.0), (2, 0.5)]


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_ids_that_cannot_be_read_are_named(text, tmp_path):
    pytest.importorskip("mlflow")
    (tmp_path / "trackers.json").write_text(text)
    with pytest.raises(UserError, match=r"trackers.json does not name the runs of trackers"):
        Trackers(("mlflow",), tmp_path, FACTS)


def test_no_file_lies_outside_the_run(tmp_path):
    pytest.importorskip("mlflow")
    folder = tmp_path / "runs ü" / "a b#c%20d"
    folder.mkdir(parents=True)
    Trackers(("mlflow", "mlflow"), folder, FACTS).close(finished=True)
    assert (folder / "mlflow" / "mlflow.db").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["runs ü"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    odd = tmp_path / "what?"
    odd.mkdir()
    with pytest.raises(UserError, match=r"mlflow cannot start a run: the path .*question mark"):
        Trackers(("mlflow",), odd, FACTS)


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_missing_package_is_named_before_training_starts(name, tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    config = tiny_experiment(runs_dir=str(tmp_path), training={"trackers": [name]})
    with pytest.raises(UserError, match=rf"{name} needs {name}.*'medusis_tf\[{name}\]'"):
        check_run_dir(config, resume=False)
    assert not config.run_dir.exists()


class Recorder(Tracker):
    """Stands for a tool whose server is lost at step 2."""

    def __init__(self, *_):
        self.id, self.calls = "1", []

    def scalars(self, step, values):
        if step == 2:
            raise ConnectionError("no route to host.")
        self.calls.append(step)

    def image(self, step, name, image):
        self.calls.append(step)

    def close(self, finished):
        self.calls.append(finished)


def test_a_tracker_that_fails_does_not_stop_the_training(tmp_path, monkeypatch, caplog):
    opened = []

    def start(*arguments):
        opened.append(Recorder(*arguments))
        return opened[-1]

    monkeypatch.setattr(trackers, "_start", start)
    monkeypatch.setattr(trackers, "find_spec", bool)
    records = Records(tmp_path, 0, Trackers(("wandb",), tmp_path, FACTS))
    for step in (1, 2, 3):
        records.scalars(step, {"losses/a": 1.0})
    records.panel(3, np.zeros([8, 8, 3], np.uint8))
    records.close(finished=True)
    assert opened[0].calls == [1]
    assert [line.getMessage() for line in caplog.records] == [
        "wandb failed and gets nothing more of this run: no route to host. metrics.jsonl and "
        "TensorBoard are complete."
    ]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3

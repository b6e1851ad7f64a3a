"""What happens to a run whose disk fills, whose data change, or which must stop at once."""

import errno
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.data.batches import dataset
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.data.shards.watch import Watch
from medusis_tf.errors import UserError
from medusis_tf.progress import TrainingProgress
from medusis_tf.runs.checkpoints import Checkpoints
from medusis_tf.runs.records import Records
from medusis_tf.training.loop import TrainingLoop
from medusis_tf.training.session import Interruption
from tests.methods.stub_method import stub_experiment

pytestmark = pytest.mark.usefixtures("stub")


def experiment(places, name, **training):
    values = {"steps": 6, "log_interval": 2, "checkpoint_interval": 3, "panel_interval": 9}
    values["validation"] = {"interval": 0}
    return stub_experiment(name=name, **places, training=values | training)


def open_loop(config):
    return TrainingLoop(config, prepare_shards(config))


def weights(loop):
    return [w.numpy().tobytes() for net in loop.method.networks.values() for w in net.weights]


def steps_logged(config):
    lines = (config.run_dir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["step"] for line in lines]


@pytest.fixture(scope="module")
def whole(places):
    loop = open_loop(experiment(places, "whole"))
    loop.run()
    return loop


def at_step(monkeypatch, step, action):
    """Do something after a step of the next run."""
    advance, taken = TrainingProgress.advance, []

    def advance_and_act(progress):
        advance(progress)
        taken.append(1)
        if len(taken) == step:
            action()

    monkeypatch.setattr(TrainingProgress, "advance", advance_and_act)


def test_a_full_disk_at_a_log_line_is_one_message_and_nothing_is_lost(places, whole, monkeypatch):
    config = experiment(places, "full_at_log")
    opened = Path.open

    def full(path, mode="r", *args, **kwargs):
        if path.name == "metrics.jsonl" and mode == "a":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return opened(path, mode, *args, **kwargs)

    at_step(monkeypatch, 3, lambda: monkeypatch.setattr(Path, "open", full))
    with pytest.raises(UserError, match=r"measurements .*metrics.jsonl: No space left on device"):
        open_loop(config).run()
    monkeypatch.undo()
    resumed = open_loop(config)
    assert resumed.run(resume=True) is None
    assert weights(resumed) == weights(whole)
    assert steps_logged(config) == [2, 4, 6]


def mount(folder):
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder]
    return subprocess.run(command, capture_output=True).returncode == 0


def test_a_small_file_system_that_fills_up(places, whole, tmp_path):
    """A real one, where the tests may mount it."""
    small = tmp_path / "small"
    small.mkdir()
    if os.geteuid() != 0 or not mount(small):
        pytest.skip("this user cannot mount a small file system")
    try:
        config = experiment({**places, "runs_dir": str(small)}, "full", steps=3)
        open_loop(config).run()
        with pytest.raises(OSError, match="No space"), (small / "fill").open("wb", 0) as fill:
            while True:
                fill.write(bytes(2**10))
        longer = experiment({**places, "runs_dir": str(small)}, "full")
        with pytest.raises(UserError, match="No space left on device"):
            open_loop(longer).run(resume=True)
        assert not list(small.rglob("*partial*"))
        (small / "fill").unlink()
        resumed = open_loop(longer)
        resumed.run(resume=True)
        assert weights(resumed) == weights(whole)
    finally:
        subprocess.run(["umount", small], check=True)


@pytest.mark.parametrize(
    "tail",
    [
        b"\0" * 40,
        b'{"step": 6, "loss',
        b"[1]\n\xff\xfe\n",
        b"{}\n",
        b'{"step": Infinity}\n',
        b"[" * 200_000,
    ],
)
def test_a_broken_end_of_the_measurements_is_cut_off(tmp_path, caplog, tail):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 2, "a": 1}\n{"step": 4, "a": 3}\n' + tail)
    records = Records(tmp_path, 4)
    assert path.read_bytes() == b'{"step": 2, "a": 1}\n{"step": 4, "a": 3}\n'
    assert records.value(4, "a") == 3
    assert "damaged lines" in caplog.text
    records.close()


def test_a_run_killed_before_its_first_checkpoint_resumes_from_the_start(places, whole):
    config = experiment(places, "early")
    loop = open_loop(config)
    loop.train_on = None
    with pytest.raises(TypeError):
        loop.run()
    resumed = open_loop(config)
    assert resumed.run(resume=True) is None
    assert weights(resumed) == weights(whole)


def test_slices_that_are_removed_while_training_change_nothing(
    places, whole, tmp_path, monkeypatch
):
    data = {**places["data"], "cache_dir": str(tmp_path / "cache")}
    config = experiment({**places, "data": data}, "removed")
    at_step(monkeypatch, 2, lambda: shutil.rmtree(tmp_path / "cache"))
    loop = open_loop(config)
    assert loop.run() is None
    assert weights(loop) == weights(whole)


def test_slices_that_are_changed_while_training_are_noticed(places, whole, tmp_path, monkeypatch):
    data = {**places["data"], "cache_dir": str(tmp_path / "cache")}
    config = experiment({**places, "data": data}, "changed")
    loop = open_loop(config)
    (file,) = (tmp_path / "cache").glob("*/image.npy")

    def change():
        with file.open("r+b") as slices:
            slices.seek(-100, 2)
            slices.write(bytes(range(100)))

    at_step(monkeypatch, 4, change)
    with pytest.raises(UserError, match=r"image.npy were changed by another program"):
        loop.run()
    monkeypatch.undo()
    with pytest.raises(UserError, match="were changed by another program"):
        open_loop(config)
    shutil.rmtree(file.parent)
    resumed = open_loop(config)
    assert resumed.run(resume=True) is None
    assert weights(resumed) == weights(whole)


def test_slices_that_are_only_touched_are_not_changed(places, tmp_path):
    data = {**places["data"], "cache_dir": str(tmp_path / "cache")}
    watch = Watch(prepare_shards(experiment({**places, "data": data}, "touched")))
    for file in (tmp_path / "cache").glob("*/*.npy"):
        file.touch()
    watch.check()


def test_other_data_are_not_taken_for_the_same_run(places, whole, tmp_path):
    root = shutil.copytree(places["data"]["root"], tmp_path / "data")
    data = {**places["data"], "root": str(root), "cache_dir": str(tmp_path / "cache")}
    config = experiment({**places, "data": data}, "other_data")
    open_loop(config).run()
    changed = next(entry for entry in data["subjects"] if entry["subject"] == "mr_0")
    image = nib.load(root / changed["image"])
    brighter = nib.Nifti1Image(10 * np.asarray(image.dataobj, np.float32), image.affine)
    nib.save(brighter, root / changed["image"])
    with pytest.raises(UserError, match="the files of mr_0 are not those that the run began with"):
        open_loop(config).run(resume=True)


def test_a_run_that_is_moved_while_training_is_saved_and_resumed(
    places, whole, tmp_path, monkeypatch
):
    config = experiment(places, "moved")
    at_step(monkeypatch, 4, lambda: config.run_dir.rename(tmp_path / "moved"))
    with pytest.raises(UserError, match=f"was moved to {tmp_path / 'moved'} while"):
        open_loop(config).run()
    monkeypatch.undo()
    assert not config.run_dir.exists()
    resumed = open_loop(experiment({**places, "runs_dir": str(tmp_path)}, "moved"))
    assert resumed.run(resume=True) is None
    assert weights(resumed) == weights(whole)


def test_a_run_in_a_folder_with_brackets_resumes(places, whole, tmp_path):
    there = {**places, "runs_dir": str(tmp_path / "study [v2]*?")}
    loop = open_loop(experiment(there, "run", checkpoints_to_keep=1))
    assert loop.run(until=3) is None
    resumed = open_loop(experiment(there, "run", checkpoints_to_keep=1))
    assert resumed.run(resume=True) is None
    assert weights(resumed) == weights(whole)
    assert len(list((resumed.config.run_dir / "checkpoints").glob("*.index"))) == 1


def test_a_second_ctrl_c_ends_at_once_and_nothing_is_lost(places, whole, monkeypatch):
    config = experiment(places, "twice")

    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    at_step(monkeypatch, 5, twice)
    with pytest.raises(KeyboardInterrupt):
        open_loop(config).run()
    monkeypatch.undo()
    resumed = open_loop(config)
    assert resumed.run(resume=True) is None
    assert weights(resumed) == weights(whole)


def test_sigterm_with_a_deadline_leaves_out_what_takes_time_and_saves(places, whole, monkeypatch):
    config = experiment(places, "deadline", stop_seconds=600, validation={"interval": 2})
    loop = open_loop(config)

    def endless(_):
        os.kill(os.getpid(), signal.SIGTERM)
        while True:
            time.sleep(0.01)

    loop.validation.measure = endless
    assert loop.run() == signal.SIGTERM
    assert (config.run_dir / "checkpoints" / "step-3.index").exists()
    monkeypatch.undo()
    resumed = open_loop(config)
    assert resumed.run(resume=True) is None
    assert weights(resumed) == weights(whole)


def test_the_process_ends_at_its_deadline(monkeypatch, capsys):
    ended = threading.Event()
    monkeypatch.setattr(os, "_exit", lambda status: status == 143 and ended.set())
    with Interruption(0.05) as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended.wait(20)
        assert interruption.is_urgent
    message = "no checkpoint could be saved within training.stop_seconds=0.05. Continue"
    assert message in capsys.readouterr().err


def test_without_a_deadline_nothing_is_urgent(monkeypatch):
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.signal == signal.SIGTERM
        assert not interruption.is_urgent
        with interruption.skippable("this"):
            done = True
    assert done


def test_batches_do_not_depend_on_the_threads_of_the_readers(places, monkeypatch):
    config = experiment(places, "threads")
    shards = prepare_shards(config)
    found = []
    for processors in (1, 6):
        monkeypatch.setattr(dataset, "processors", lambda number=processors: number)
        batches = dataset.training_batches(config, shards).take(6).as_numpy_iterator()
        found.append([{key: value.tobytes() for key, value in each.items()} for each in batches])
    assert found[0] == found[1]


def test_a_checkpoint_is_hardly_larger_than_its_tensors(tmp_path, places):
    """At a size where the description of the objects does not count."""
    loop = open_loop(experiment(places, "size"))
    tensor = tf.Variable(np.zeros([512, 512], np.float32))
    loop.checkpoints._checkpoint.extra = tensor
    tmp_path.joinpath("checkpoints").mkdir()
    checkpoints = Checkpoints(loop.method, tmp_path, 1)
    checkpoints._checkpoint.extra = tensor
    path = checkpoints.save()
    reader = tf.train.load_checkpoint(str(path))
    names = reader.get_variable_to_shape_map()
    tensors = sum(reader.get_tensor(n).nbytes for n in names if not n.startswith("_CHECK"))
    size = sum(file.stat().st_size for file in path.parent.glob(f"{path.name}.*"))
    assert size <= 1.1 * tensors

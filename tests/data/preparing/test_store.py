"""The cache folder: killed processes, two processes at once, and earlier versions."""

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import numpy as np
import pytest
import tensorflow as tf

from medusis_tf.config.data import Subject
from medusis_tf.data.batches.dataset import training_batches
from medusis_tf.data.preparing import store
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.data.preparing.store import Store
from medusis_tf.data.shards.shards import Shards
from medusis_tf.data.shards.slice_files import write_slices
from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import save_config
from tests.data.small_subjects import (
    count_conversions,
    small_experiment,
    tree,
    write_cohort,
    write_subject,
)
from tests.data.volume_files import changed_data

ROOT = Path(__file__).parents[3]
NUM_SUBJECTS = 6

# Kills itself right before a call.
KILLED = """
import os, signal, sys
from pathlib import Path
from medusis_tf.methods.experiment import load_config
from medusis_tf.data.preparing import preparation, store

name, allowed = sys.argv[2:4]
function, calls = getattr(store, name), []

def fatal(*arguments, **options):
    calls.append(name)
    if len(calls) > int(allowed):
        os.kill(os.getpid(), signal.SIGKILL)
    return function(*arguments, **options)

setattr(store, name, fatal)
preparation.prepare_shards(load_config(Path(sys.argv[1])))
"""


@pytest.fixture
def config(tmp_path):
    return small_experiment(tmp_path / "root", tmp_path / "cache", write_cohort(tmp_path / "root"))


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        (("write_slices", 5), 3),  # half of the fourth subject is written
        (("map_slices", 4), NUM_SUBJECTS),  # while the data set is assembled
    ],
    ids=["converting", "assembling"],
)
def test_a_killed_process_leaves_no_damage(config, tmp_path, monkeypatch, where, kept):
    clean = prepare_shards(changed_data(config, cache_dir=tmp_path / "clean")).folder
    save_config(config, tmp_path / "config.yaml")
    command = [sys.executable, "-c", KILLED, tmp_path / "config.yaml", *map(str, where)]
    assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
    cache = config.data.cache_dir
    assert list(cache.rglob(".partial-*"))
    converted = count_conversions(monkeypatch)
    shards = prepare_shards(config)
    assert len(converted) == NUM_SUBJECTS - kept
    assert tree(shards.folder) == tree(clean)
    assert list(cache.rglob(".partial-*")) == []
    assert list((cache / "subjects").iterdir()) == []


def test_leftovers_of_a_process_killed_at_the_end_are_removed(config, monkeypatch):
    # The data set is complete, and the subjects that it was assembled from still exist.
    with monkeypatch.context() as patch:
        patch.setattr("medusis_tf.data.preparing.store.shutil.rmtree", lambda *_, **__: None)
        first = prepare_shards(config)
    subjects = config.data.cache_dir / "subjects"
    assert len(list(subjects.iterdir())) == NUM_SUBJECTS
    prepare_shards(changed_data(config, subjects=config.data.subjects[:-1]))
    assert list(subjects.iterdir()) == []
    assert prepare_shards(config).folder == first.folder


def test_incomplete_files_of_other_settings_are_removed(config):
    cache = config.data.cache_dir
    for folder in (".partial-0123", "subjects/.partial-4567"):
        (cache / folder).mkdir(parents=True)
        (cache / folder / "image.npy").write_bytes(b"half")
    prepare_shards(config)
    assert list(cache.rglob(".partial-*")) == []


@pytest.mark.parametrize("damage", ["cut", "gone", "record", "other"])
def test_a_damaged_subject_is_converted_again(config, tmp_path, monkeypatch, damage):
    clean = prepare_shards(changed_data(config, cache_dir=tmp_path / "clean")).folder
    with monkeypatch.context() as patch:
        patch.setattr(Store, "assemble", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare_shards(config)
    pieces = sorted((config.data.cache_dir / "subjects").iterdir())
    assert len(pieces) == NUM_SUBJECTS
    record = pieces[2] / "record.json"
    if damage == "cut":
        file = next(pieces[2].glob("*.npy"))
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "gone":
        next(pieces[2].glob("*.npy")).unlink()
    elif damage == "record":
        record.write_text(record.read_text()[:50])
    else:
        record.write_text("{}")
    converted = count_conversions(monkeypatch)
    assert tree(prepare_shards(config).folder) == tree(clean)
    assert len(converted) == 1


def interrupt(*_):
    raise KeyboardInterrupt


def test_a_second_process_waits_and_finds_the_result(config, monkeypatch, caplog):
    """A lock of another thread works like one of another process."""
    cache = config.data.cache_dir
    cache.mkdir()
    found = []
    lock = filelock.FileLock(cache / ".lock")
    with lock, caplog.at_level(logging.INFO, "medusis_tf"):
        second = threading.Thread(target=lambda: found.append(prepare_shards(config)))
        waits = threading.Event()
        monkeypatch.setattr(
            "medusis_tf.data.preparing.store.logger.info", lambda message, *_: waits.set()
        )
        second.start()
        assert waits.wait(60)
        assert sorted(path.name for path in cache.iterdir()) == [".lock"]
        # The first process is done: its folder exists when the lock is released.
        first = prepare_shards(changed_data(config, cache_dir=cache.with_name("first")))
        first.folder.rename(cache / first.folder.name)
        lock.release()
        second.join(60)
    assert found[0].folder == cache / first.folder.name
    assert caplog.messages[-1] == f"using the slices prepared in {found[0].folder}"


def test_a_full_disk_is_reported_and_written_subjects_are_kept(config, monkeypatch):
    written = []

    def fill_up(*arguments):
        if len(written) == 4:  # label maps and body masks of two subjects
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(arguments)
        return write_slices(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_slices", fill_up)
        with pytest.raises(UserError, match=r"data\.cache_dir=.*cache: No space left on device"):
            prepare_shards(config)
    converted = count_conversions(monkeypatch)
    prepare_shards(config)
    assert len(converted) == NUM_SUBJECTS - 2


def test_other_folders_in_the_cache_are_left_alone(config):
    other = config.data.cache_dir / "notes"
    other.mkdir(parents=True)
    (other / "manifest.json").write_text("[]")
    prepare_shards(config)
    assert (other / "manifest.json").read_text() == "[]"


def test_slices_are_not_copied_past_the_end_of_a_file(config, monkeypatch):
    first = prepare_shards(config)
    file = first.folder / "image.npy"
    # The file is cut after the manifest was read: no data set is made of the rest.
    stored = Store(config.data.cache_dir, config.data.image_size).stored()
    os.truncate(file, 100)
    monkeypatch.setattr(Store, "stored", lambda self: stored)
    fewer = changed_data(config, subjects=config.data.subjects[:-1])
    with pytest.raises(UserError, match=r"cannot write prepared slices .*image\.npy ends"):
        prepare_shards(fewer)


def as_earlier_version(folder):
    """Rewrite a data set as the last version wrote it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for kind, file in manifest["files"].items():
        path = folder / f"{kind}.tfrecord"
        with tf.io.TFRecordWriter(str(path)) as writer:
            for pixels in np.load(folder / f"{kind}.npy"):
                writer.write(pixels.tobytes())
        (folder / f"{kind}.npy").unlink()
        file |= {"path": path.name, "bytes": path.stat().st_size}
    for entry in manifest["subjects"]:
        del entry["body"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_slices_of_an_earlier_version_are_rewritten_not_converted(config, monkeypatch, caplog):
    first = prepare_shards(config)
    (first.folder / "report.html").write_text("report")
    slices = {entry.subject: first.read(entry) for entry in first.records.subjects}
    as_earlier_version(first.folder)
    earlier = Shards.open(first.folder)
    assert earlier.is_of_earlier_version and earlier.records.subjects[0].body is None
    np.testing.assert_array_equal(earlier.read("test").image, slices["test"].image)
    with pytest.raises(UserError, match="Run `prepare` again"):
        training_batches(config, earlier)
    converted = count_conversions(monkeypatch)
    with caplog.at_level(logging.INFO, "medusis_tf"):
        second = prepare_shards(config)
    assert f"rewriting the slices of an earlier version in {first.folder}" in caplog.messages
    assert converted == [] and second.folder == first.folder
    assert sorted(path.name for path in second.folder.iterdir()) == [
        "body_mask.npy", "image.npy", "label_map.npy", "manifest.json", "report.html",
    ]  # fmt: skip
    for name in slices:
        for kind in ("label_map", "image", "body_mask"):
            found = getattr(second.read(name), kind)
            np.testing.assert_array_equal(found, getattr(slices[name], kind))


def test_an_added_subject_joins_slices_of_an_earlier_version(config, monkeypatch):
    first = prepare_shards(config)
    expected = first.read("valid").image
    as_earlier_version(first.folder)
    converted = count_conversions(monkeypatch)
    new = Subject(**write_subject(config.data.root, "mr_3", kinds="image", seed=9))
    second = prepare_shards(changed_data(config, subjects=(*config.data.subjects, new)))
    assert converted == ["mr_3"]
    np.testing.assert_array_equal(second.read("valid").image, expected)
    assert Shards.open(first.folder).is_of_earlier_version  # left as it is

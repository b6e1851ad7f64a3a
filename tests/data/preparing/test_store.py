"""The cache folder: what a killed process leaves, and two processes at once."""

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import pytest

from medusis_tf.data.preparing import store
from medusis_tf.data.preparing.preparation import prepare_shards
from medusis_tf.data.preparing.store import Store
from medusis_tf.data.shards.slice_files import write_slices
from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import save_config
from tests.data.small_subjects import count_conversions, small_experiment, tree, write_cohort
from tests.data.volume_files import changed_data

ROOT = Path(__file__).parents[3]
NUM_SUBJECTS = 6

# Kills itself, as no one can prepare for, right before a call.
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
def test_a_killed_process_leaves_nothing_wrong(config, tmp_path, monkeypatch, where, kept):
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


def test_what_a_process_killed_at_the_end_left_goes_with_the_next_data_set(config, monkeypatch):
    # The data set stands, and the subjects it was put together from do too.
    with monkeypatch.context() as patch:
        patch.setattr("medusis_tf.data.preparing.store.shutil.rmtree", lambda *_, **__: None)
        first = prepare_shards(config)
    subjects = config.data.cache_dir / "subjects"
    assert len(list(subjects.iterdir())) == NUM_SUBJECTS
    prepare_shards(changed_data(config, subjects=config.data.subjects[:-1]))
    assert list(subjects.iterdir()) == []
    assert prepare_shards(config).folder == first.folder


def test_half_written_folders_of_other_settings_do_not_stay(config):
    cache = config.data.cache_dir
    for folder in (".partial-0123", "subjects/.partial-4567"):
        (cache / folder).mkdir(parents=True)
        (cache / folder / "image.npy").write_bytes(b"half")
    prepare_shards(config)
    assert list(cache.rglob(".partial-*")) == []


@pytest.mark.parametrize("damage", ["cut", "gone", "record", "other"])
def test_a_damaged_piece_is_converted_again(config, tmp_path, monkeypatch, damage):
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
        # The first one is done: its folder is there when the lock is let go.
        first = prepare_shards(changed_data(config, cache_dir=cache.with_name("first")))
        first.folder.rename(cache / first.folder.name)
        lock.release()
        second.join(60)
    assert found[0].folder == cache / first.folder.name
    assert caplog.messages[-1] == f"using the slices prepared in {found[0].folder}"


def test_a_full_disk_is_told_and_what_was_written_before_is_kept(config, monkeypatch):
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


def test_a_folder_of_another_kind_in_the_cache_is_left_alone(config):
    other = config.data.cache_dir / "notes"
    other.mkdir(parents=True)
    (other / "manifest.json").write_text("[]")
    prepare_shards(config)
    assert (other / "manifest.json").read_text() == "[]"


def test_records_are_not_copied_past_the_end_of_a_file(config, monkeypatch):
    first = prepare_shards(config)
    file = first.folder / "image.npy"
    # The manifest was read, then the file is cut: no data set is made of what is left.
    stored = Store(config.data.cache_dir, config.data.image_size).stored()
    os.truncate(file, 100)
    monkeypatch.setattr(Store, "stored", lambda self: stored)
    fewer = changed_data(config, subjects=config.data.subjects[:-1])
    with pytest.raises(UserError, match=r"cannot write prepared slices .*image\.npy ends"):
        prepare_shards(fewer)

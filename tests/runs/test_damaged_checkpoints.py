"""Damage to the files of checkpoints: it is found, named, and the checkpoint before is taken."""

import hashlib
import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from medusis_tf.commands.evaluate import evaluate
from medusis_tf.commands.export import export
from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import save_config
from medusis_tf.runs import checkpoint_files
from medusis_tf.runs.checkpoints import CheckpointChoice, Checkpoints, load_painter
from tests.command_runner import run_command, user_error
from tests.methods.stub_method import StubMethod, registered_stub, stub_experiment

DATA, INDEX, SUMS = (f"step-6.{end}" for end in ("data-00000-of-00001", "index", "sha256"))
DATA_4, INDEX_4, SUMS_4 = (name.replace("6", "4", 1) for name in (DATA, INDEX, SUMS))


@pytest.fixture(scope="module", autouse=True)
def stub():
    with registered_stub():
        yield


def method_at(step, value=None):
    """A stub method after `step` steps, with all weights of its painter set to `value`."""
    method = StubMethod(stub_experiment())
    method.network_optimizers["trained"].iterations.assign(step)
    for weight in method.painter.weights:
        weight.assign(np.full(weight.shape, step if value is None else value, np.float32))
    return method


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with the checkpoints of steps 4 and 6."""
    run_dir = tmp_path_factory.mktemp("runs") / "stub"
    (run_dir / "checkpoints").mkdir(parents=True)
    config = stub_experiment(runs_dir=str(run_dir.parent))
    save_config(config, run_dir / "config.yaml")
    for step in (4, 6):
        Checkpoints(method_at(step), run_dir, keep=2).save()
    return run_dir


@pytest.fixture
def run_dir(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "stub")


@pytest.fixture
def folder(run_dir):
    return run_dir / "checkpoints"


def cut(name, left=0.5):
    def damage(folder):
        size = (folder / name).stat().st_size
        os.truncate(folder / name, int(size * left))

    return damage


def flip(name, where=0.5):
    def damage(folder):
        blob = bytearray((folder / name).read_bytes())
        blob[int(where * (len(blob) - 1))] ^= 1
        (folder / name).write_bytes(blob)

    return damage


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def append(name, content):
    return lambda folder: write(name, (folder / name).read_bytes() + content)(folder)


def delete(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def copy(*pairs):
    return lambda folder: [shutil.copy(folder / source, folder / name) for source, name in pairs]


def replace_by_folder(name):
    def damage(folder):
        (folder / name).unlink()
        (folder / name).mkdir()

    return damage


def replace_by_pipe(name):
    def damage(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return damage


def link(name, target):
    def damage(folder):
        (folder / name).unlink()
        (folder / name).symlink_to(target)

    return damage


def rename_all(folder):
    """The files of step 4 under the names of step 6, with a fitting list of checksums."""
    copy((DATA_4, DATA), (INDEX_4, INDEX))(folder)
    text = (folder / SUMS_4).read_text().replace("step-4", "step-6")
    (folder / SUMS).write_text(text)


def swap(folder):
    for a, b in ((DATA, DATA_4), (INDEX, INDEX_4)):
        first, second = (folder / a).read_bytes(), (folder / b).read_bytes()
        (folder / a).write_bytes(second)
        (folder / b).write_bytes(first)


def list_another_file(folder):
    (folder.parent / "other").write_bytes(b"1")
    checksum = hashlib.sha256(b"1").hexdigest()
    with (folder / SUMS).open("a") as sums:
        sums.write(f"{checksum}  ../other\n")


DAMAGE = {
    "data cut in half": cut(DATA),
    "data without its last byte": cut(DATA, 0.999),
    "data empty": cut(DATA, 0),
    "first bit of the data flipped": flip(DATA, 0),
    "bit in the middle of the data flipped": flip(DATA),
    "last bit of the data flipped": flip(DATA, 1),
    "data overwritten with NULs": lambda f: write(DATA, bytes((f / DATA).stat().st_size))(f),
    "bytes after the data": append(DATA, b"\0" * 16),
    "data missing": delete(DATA),
    "data a folder": replace_by_folder(DATA),
    "data a pipe": replace_by_pipe(DATA),
    "data a link to nothing": link(DATA, "nothing"),
    "data a device": link(DATA, "/dev/zero"),
    "data of the step before": copy((DATA_4, DATA)),
    "index cut in half": cut(INDEX),
    "index empty": cut(INDEX, 0),
    "bit of the index flipped": flip(INDEX),
    "index overwritten with text": write(INDEX, b"not an index"),
    "index missing": delete(INDEX),
    "index a folder": replace_by_folder(INDEX),
    "index of the step before": copy((INDEX_4, INDEX)),
    "both of the step before": copy((DATA_4, DATA), (INDEX_4, INDEX)),
    "all of the step before": copy((DATA_4, DATA), (INDEX_4, INDEX), (SUMS_4, SUMS)),
    "all of the step before, renamed inside": rename_all,
    "checksums empty": cut(SUMS, 0),
    "checksums cut": cut(SUMS, 0.8),
    "checksums of one file only": lambda f: write(
        SUMS, (f / SUMS).read_bytes().splitlines(keepends=True)[0]
    )(f),
    "checksums binary": write(SUMS, bytes(range(256))),
    "checksums a folder": replace_by_folder(SUMS),
    "checksums endless": link(SUMS, "/dev/zero"),
    "bit of the checksums flipped": flip(SUMS, 0),
    "checksums of a file elsewhere": list_another_file,
    "all files missing": delete(DATA, INDEX, SUMS),
}
HARMLESS = {
    "state missing": delete("checkpoint"),
    "state empty": cut("checkpoint", 0),
    "state cut": cut("checkpoint", 0.3),
    "state binary": write("checkpoint", bytes(range(256))),
    "state a folder": replace_by_folder("checkpoint"),
    "state endless": link("checkpoint", "/dev/zero"),
    "state that leads out": write("checkpoint", b'model_checkpoint_path: "/elsewhere/step-6"\n'),
    "strangers": lambda f: [
        write(name, b"x")(f) for name in ("step-x.index", "step-.index", "notes.txt", "step-9.txt")
    ],
    "files of a killed process": lambda f: [
        (f / "partial").mkdir(),
        write("partial/step-8.index", b"half")(f),
        write("step-8.data-00000-of-00001", b"half")(f),
    ],
}


def restored(run_dir):
    method = method_at(0)
    return Checkpoints(method, run_dir, keep=2).restore(), method


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_is_taken(
    run_dir, folder, caplog, kind
):
    DAMAGE[kind](folder)
    step, method = restored(run_dir)
    assert step == 4
    assert all(np.all(weight.numpy() == 4) for weight in method.painter.weights)
    (warning,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert "is damaged: step-6: " in warning
    assert warning.endswith("step-4 is taken instead.")
    assert "\n" not in warning


@pytest.mark.parametrize("kind", [kind for kind in DAMAGE if "renamed inside" not in kind])
def test_evaluation_and_export_take_the_one_before(run_dir, folder, caplog, kind):
    DAMAGE[kind](folder)
    _, painter, step = load_painter(run_dir)
    assert step == 4
    assert all(np.all(weight.numpy() == 4) for weight in painter.weights)
    assert "is damaged: step-6: " in caplog.text


@pytest.mark.parametrize("kind", HARMLESS)
def test_whole_checkpoints_are_found_whatever_lies_beside_them(run_dir, folder, caplog, kind):
    HARMLESS[kind](folder)
    assert restored(run_dir)[0] == 6
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_if_all_are_damaged_one_message_names_them(run_dir, folder):
    flip(DATA)(folder)
    cut(INDEX_4)(folder)
    with pytest.raises(UserError) as error:
        restored(run_dir)
    message = str(error.value)
    assert f"every checkpoint in {folder} is damaged: step-6: {DATA} is not as it was" in message
    assert f"step-4: {INDEX_4} is not as it was written" in message


def test_a_checkpoint_under_the_name_of_another_step_is_not_exported(run_dir, folder, tmp_path):
    for path in sorted(folder.glob("step-*")):
        if path.name.startswith("step-6"):
            path.unlink()
    for path in sorted(folder.glob("step-4*")):
        path.rename(folder / path.name.replace("step-4", "step-6"))
    for path in folder.glob("*.sha256"):
        path.unlink()
    (folder / "checkpoint").unlink()
    message = user_error(export, "--run", run_dir, "--out", tmp_path / "models")
    assert "step-6 is the checkpoint of step 4, not of the step in its name" in message


def test_weights_that_are_not_finite_are_not_exported(run_dir, tmp_path):
    Checkpoints(method_at(8, np.nan), run_dir, keep=1).save()
    message = user_error(export, "--run", run_dir, "--out", tmp_path / "models")
    assert "step-8 has weights that are not finite" in message


def test_a_file_in_place_of_the_folder_is_refused(run_dir, folder):
    shutil.rmtree(folder)
    folder.write_text("")
    with pytest.raises(UserError, match="checkpoints is not a folder"):
        restored(run_dir)


def test_commands_refuse_if_all_are_damaged(run_dir, folder, tmp_path):
    flip(DATA)(folder)
    flip(DATA_4)(folder)
    out = tmp_path / "models"
    message = user_error(export, "--run", run_dir, "--out", out)
    assert "is damaged" in message and "--checkpoint best" not in message  # there is none
    assert "is damaged" in user_error(evaluate, "--run", run_dir)
    assert not out.exists()


def test_a_damaged_best_checkpoint_is_refused(run_dir, folder):
    (folder / "best").mkdir()
    for name in (DATA, INDEX, SUMS):
        shutil.copy(folder / name, folder / "best" / name)
    assert load_painter(run_dir, CheckpointChoice.BEST)[2] == 6
    flip(DATA)(folder / "best")
    with pytest.raises(UserError, match=r"best/step-6 is damaged: .*data.*Use --checkpoint newest"):
        load_painter(run_dir, CheckpointChoice.BEST)
    _, _, err = run_command(export, "--run", run_dir, "--checkpoint", "best")
    assert err.startswith("error: the checkpoint")


@pytest.mark.parametrize("sums", [(SUMS,), (SUMS, SUMS_4)])
def test_a_checkpoint_of_an_earlier_version_opens_with_a_log_line(run_dir, folder, caplog, sums):
    caplog.set_level(logging.INFO)
    delete(*sums)(folder)
    assert restored(run_dir)[0] == 6
    assert "step-6 has no checksums: an earlier version wrote it" in caplog.text


@pytest.mark.parametrize("damage", [flip(DATA, 0.1), cut(DATA), cut(INDEX), cut(INDEX, 0)])
def test_damage_is_found_without_checksums(run_dir, folder, caplog, damage):
    delete(SUMS)(folder)
    damage(folder)
    assert restored(run_dir)[0] == 4
    assert "step-6: TensorFlow cannot read it" in caplog.text


def test_without_a_checkpoint_a_run_starts_at_step_0(run_dir, folder, caplog):
    caplog.set_level(logging.INFO)
    shutil.rmtree(folder)
    assert restored(run_dir)[0] == 0
    assert "no checkpoint in" in caplog.text


def test_a_save_removes_the_damaged_ones_that_it_replaces(run_dir, folder):
    flip(DATA)(folder)
    step, method = restored(run_dir)
    assert step == 4
    method.network_optimizers["trained"].iterations.assign(5)
    Checkpoints(method, run_dir, keep=2).save()
    assert checkpoint_files.steps_of_all_files(folder) == [4, 5]
    assert restored(run_dir)[0] == 5


def test_a_failed_save_changes_nothing(run_dir, folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_files, "_sha256_on_disk", full)
    with pytest.raises(UserError, match=r"step 6 to .*: No space left on device. Earlier"):
        Checkpoints(method_at(6, 0), run_dir, keep=2).save()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_checksums_are_those_of_sha256sum(folder):
    for line in (folder / SUMS).read_text().splitlines():
        checksum, name = line.split("  ")
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum
    assert (folder / SUMS).read_text().count("\n") == 2


@pytest.mark.parametrize("name", ["study [v2]", "a*b", "what?", "back\\slash", "[", "{a,b}"])
def test_folders_of_any_name_hold_checkpoints(tmp_path, name):
    run_dir = tmp_path / name
    run_dir.mkdir()
    for step in (1, 2, 3):
        Checkpoints(method_at(step), run_dir, keep=2).save()
    assert checkpoint_files.steps_in(run_dir / "checkpoints") == [2, 3]
    assert restored(run_dir)[0] == 3


def test_a_link_for_tensorflow_leads_to_the_folder_and_is_removed(tmp_path):
    folder = tmp_path / "a[b]"
    folder.mkdir()
    with checkpoint_files.literal(folder) as path:
        assert "[" not in str(path)
        (path / "file").touch()
    assert (folder / "file").exists()
    assert not path.exists()
    with checkpoint_files.literal(Path("plain")) as path:
        assert path == Path("plain")

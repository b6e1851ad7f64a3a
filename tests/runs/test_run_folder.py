"""The folder of a run in training: locked, compared with its data, and followed if it moves."""

import json
import shutil

import filelock
import pytest

from medusis_tf.errors import UserError
from medusis_tf.methods.experiment import load_config
from medusis_tf.runs.run_dir import check_run_dir
from medusis_tf.runs.run_folder import check_data, open_run
from tests.training.tiny_experiment import tiny_experiment


def manifest(**checksums):
    return {
        "subjects": [
            {"subject": name, "sources": {"image": {"sha256": value, "path": "x"}}}
            for name, value in checksums.items()
        ]
    }


@pytest.fixture
def experiment(tmp_path):
    return tiny_experiment(runs_dir=str(tmp_path / "runs"))


def test_a_second_process_cannot_train_in_the_folder(experiment):
    # A lock of another object is like one of another process.
    with (
        open_run(experiment, manifest(), resume=False),
        pytest.raises(UserError, match=r"another process is training .*tiny\. Wait"),
    ):
        open_run(experiment, manifest(), resume=True).__enter__()
    with open_run(experiment, manifest(), resume=True):
        pass


def test_of_two_new_runs_of_one_name_the_second_is_refused(experiment):
    lock = filelock.FileLock(experiment.run_dir / ".lock")
    experiment.run_dir.mkdir(parents=True)
    with lock, pytest.raises(UserError, match="another process is training"):
        open_run(experiment, manifest(), resume=False).__enter__()
    with open_run(experiment, manifest(), resume=False):
        pass
    with pytest.raises(UserError, match="already holds a run"):
        open_run(experiment, manifest(), resume=False).__enter__()


@pytest.mark.parametrize("left", [".lock", "manifest.json", ".partial-0-config.yaml"])
def test_what_a_run_leaves_that_was_killed_before_it_began_is_no_run(experiment, left):
    experiment.run_dir.mkdir(parents=True)
    (experiment.run_dir / left).touch()
    check_run_dir(experiment, resume=False)


def test_files_that_changed_since_the_start_are_named(experiment):
    with open_run(experiment, manifest(a="1", b="2", c="3"), resume=False):
        pass
    check_data(experiment.run_dir, manifest(a="1", b="2", c="3"))
    with pytest.raises(UserError, match=r"the files of b, d are not those that the run began"):
        check_data(experiment.run_dir, manifest(a="1", b="0", c="3", d="4"))
    many = {f"s{number:02d}": "1" for number in range(14)}
    with pytest.raises(UserError, match=r"the files of a, b, c, s00, .*s06 and 7 others are not"):
        check_data(experiment.run_dir, manifest(**many))


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 200_000, '{"subjects": [{}]}', None])
def test_a_damaged_manifest_is_a_warning(experiment, caplog, text):
    with open_run(experiment, manifest(a="1"), resume=False):
        pass
    path = experiment.run_dir / "manifest.json"
    path.unlink() if text is None else path.write_text(text)
    check_data(experiment.run_dir, manifest(a="2"))
    assert "manifest.json: the data are not compared" in caplog.text


def test_a_resumed_run_keeps_its_new_settings(experiment):
    with open_run(experiment, manifest(), resume=False):
        pass
    longer = tiny_experiment(runs_dir=str(experiment.runs_dir), training={"steps": 50})
    with open_run(longer, manifest(), resume=True):
        pass
    assert load_config(experiment.run_dir / "config.yaml").training.steps == 50
    assert json.loads((experiment.run_dir / "manifest.json").read_text())["provenance"]


def test_a_moved_folder_gets_a_checkpoint_and_a_removed_one_does_not(experiment, tmp_path):
    saved = []
    with open_run(experiment, manifest(), resume=False) as folder:
        folder.check_in_place(saved.append)
        place = tmp_path / "elsewhere" / "renamed"
        place.parent.mkdir()
        experiment.run_dir.rename(place)
        with pytest.raises(UserError, match=r"was moved to .*--resume runs_dir=.* name=renamed"):
            folder.check_in_place(saved.append)
        assert saved == [place]
        experiment.run_dir.mkdir()  # another folder at the old place is not the run
        with pytest.raises(UserError, match="was moved to"):
            folder.check_in_place(saved.append)
        shutil.rmtree(place)
        with pytest.raises(UserError, match="was removed while the run was training"):
            folder.check_in_place(saved.append)
    assert len(saved) == 2


def test_a_renamed_run_resumes_under_its_new_name(experiment):
    with open_run(experiment, manifest(), resume=False):
        pass
    experiment.run_dir.rename(experiment.run_dir.with_name("renamed"))
    renamed = tiny_experiment(runs_dir=str(experiment.runs_dir), name="renamed")
    with open_run(renamed, manifest(), resume=True):
        pass
    assert load_config(renamed.run_dir / "config.yaml").name == "renamed"

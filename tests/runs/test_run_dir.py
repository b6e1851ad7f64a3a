import json

import pytest

from medusis_tf.errors import UserError
from medusis_tf.runs.run_dir import check_run_dir, write_run_dir
from tests.training.tiny_experiment import tiny_experiment


@pytest.fixture
def experiment(tmp_path):
    return tiny_experiment(runs_dir=str(tmp_path))


def test_a_run_is_never_overwritten(experiment):
    check_run_dir(experiment, resume=False)
    write_run_dir(experiment, {"subjects": []})
    with pytest.raises(UserError, match=r"tiny already holds a run. Continue it with --resume"):
        check_run_dir(experiment, resume=False)


def test_a_missing_run_cannot_be_resumed(experiment):
    with pytest.raises(UserError, match=r"nothing to resume: .*config.yaml does not exist"):
        check_run_dir(experiment, resume=True)


def test_a_resumed_run_may_be_longer_but_not_another_experiment(experiment):
    write_run_dir(experiment, {})
    runs_dir = str(experiment.runs_dir)
    free = {"steps": 50, "validation": {"interval": 0}}
    check_run_dir(tiny_experiment(runs_dir=runs_dir, training=free), resume=True)
    with pytest.raises(UserError) as error:
        other = tiny_experiment(runs_dir=runs_dir, seed=3, training={"batch_size": 8})
        check_run_dir(other, resume=True)
    assert str(error.value).splitlines()[1:] == [
        "  seed: 0 -> 3",
        "  training.batch_size: 4 -> 8",
    ]


def test_the_manifest_contains_the_provenance(experiment):
    write_run_dir(experiment, {"subjects": ["a"]})
    manifest = json.loads((experiment.run_dir / "manifest.json").read_text())
    assert manifest["subjects"] == ["a"]
    assert manifest["provenance"]["versions"]["keras"].startswith("3.")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot write the run to .*file/tiny"):
        write_run_dir(tiny_experiment(runs_dir=str(tmp_path / "file")), {})

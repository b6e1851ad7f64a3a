import pytest

from medusis_tf.errors import UserError
from medusis_tf.serving.model_folders import find_model, new_version


def version(folder, name):
    (folder / name).mkdir(parents=True)
    (folder / name / "saved_model.pb").write_bytes(b"")
    return folder / name


def test_the_newest_version_is_the_highest_number(tmp_path):
    for name in ("2", "10", "9", "notes", ".exporting-11-1"):
        version(tmp_path, name)
    (tmp_path / "12").mkdir()
    assert find_model(tmp_path) == tmp_path / "10"
    assert find_model(tmp_path / "9") == tmp_path / "9"


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no model folder"):
        find_model(tmp_path / "missing")
    with pytest.raises(UserError, match="holds no exported model"):
        find_model(tmp_path)
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(UserError, match=r"is a run.*medusis export --run"):
        find_model(tmp_path)


def test_a_version_appears_when_it_is_complete(tmp_path):
    with new_version(tmp_path / "model") as (folder, target):
        (folder / "saved_model.pb").write_bytes(b"")
        assert not target.exists()
    assert target == tmp_path / "model" / "1"
    assert find_model(tmp_path / "model") == target
    assert list((tmp_path / "model").iterdir()) == [target]


def test_the_next_version_follows_the_highest(tmp_path):
    version(tmp_path, "4")
    with new_version(tmp_path) as (_, target):
        pass
    assert target == tmp_path / "5"


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), new_version(tmp_path) as (folder, _):
        (folder / "half").write_bytes(b"")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_no_version_is_overwritten(tmp_path):
    version(tmp_path, "1")
    with pytest.raises(UserError, match="exists already"), new_version(tmp_path, 1):
        pass
    with (
        pytest.raises(OSError, match="not empty"),
        new_version(tmp_path, 2) as (folder, _),
    ):
        (folder / "ours").write_bytes(b"")
        version(tmp_path, "2")  # another process was faster
    assert [path.name for path in (tmp_path / "2").iterdir()] == ["saved_model.pb"]

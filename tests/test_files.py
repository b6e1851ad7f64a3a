from pathlib import Path

import pytest

from medusis_tf.files import replacing, replacing_folder


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "volume.nii.gz"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.name.endswith(".nii.gz")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "parent" / "slices"
    for name in ("first", "second"):
        with replacing_folder(path) as temporary:
            (temporary / name).touch()
            assert name == "second" or not path.exists()
        assert [file.name for file in path.iterdir()] == [name]
    with pytest.raises(ZeroDivisionError), replacing_folder(path) as temporary:
        (temporary / "third").touch()
        raise ZeroDivisionError
    assert [file.name for file in path.iterdir()] == ["second"]
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_replaced_is_back(tmp_path, monkeypatch):
    folder, rename = tmp_path / "series", Path.replace
    folder.mkdir()
    (folder / "old.dcm").write_text("old")

    def fails_once_moved(self, target):
        if self.name.startswith(".partial-"):
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", fails_once_moved)
    with pytest.raises(OSError, match="no"), replacing_folder(folder) as temporary:
        (temporary / "new.dcm").write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["series"]
    assert (folder / "old.dcm").read_text() == "old"

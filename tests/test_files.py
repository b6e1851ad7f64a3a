import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from medusis_tf import files
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


def test_writers_of_one_path_never_share_a_temporary_one(tmp_path):
    for writer in (replacing, replacing_folder):
        with writer(tmp_path / "mr") as first, writer(tmp_path / "mr") as second:
            assert first != second
            for path in (first, second):
                path.mkdir(exist_ok=True)
        shutil.rmtree(tmp_path / "mr")
    assert list(tmp_path.iterdir()) == []


def test_many_threads_replace_one_folder(tmp_path):
    folder = tmp_path / "series"

    def write(number):
        with replacing_folder(folder) as temporary:
            for name in ("first", "second"):
                (temporary / name).write_text(str(number))

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(write, range(200)))
    assert len({(folder / name).read_text() for name in ("first", "second")}) == 1
    assert list(tmp_path.iterdir()) == [folder]


def test_folders_of_killed_processes_are_removed_and_those_of_running_ones_kept(tmp_path):
    code = (
        "import os, sys, pathlib\n"
        "from medusis_tf.files import replacing_folder\n"
        "with replacing_folder(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    (temporary / 'half').touch()\n"
        "    print(temporary, flush=True)\n"
        "    os._exit(9) if sys.argv[2] == 'killed' else sys.stdin.read()\n"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, tmp_path / "mr", fate],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for fate in ("killed", "runs")
    ]
    killed, runs = (Path(each.stdout.readline().strip()) for each in started)
    started[0].communicate()
    assert (killed / "half").exists() and (runs / "half").exists()
    with replacing_folder(tmp_path / "mr"):
        assert not killed.exists() and (runs / "half").exists()
    started[1].communicate()
    assert [path.name for path in tmp_path.iterdir()] == ["mr"]


@pytest.mark.parametrize("exists", [True, False])
def test_what_was_replaced_is_removed_once_the_new_one_is_there(tmp_path, exists, monkeypatch):
    path = tmp_path / "series"
    dead = tmp_path / f".replaced-{files._MACHINE}.{2**22 + 1}.0a-series"
    dead.mkdir()
    if exists:
        path.mkdir()
    with replacing_folder(path) as temporary:
        assert dead.exists() != exists
        (temporary / "new").touch()
    assert (path / "new").exists()


def test_an_interruption_while_the_old_folder_is_deleted_keeps_the_new_one(tmp_path, monkeypatch):
    path = tmp_path / "series"
    path.mkdir()

    def interrupted(_):
        raise SystemExit(143)

    monkeypatch.setattr(files, "_delete", interrupted)
    with pytest.raises(SystemExit), replacing_folder(path) as temporary:
        (temporary / "new").touch()
    assert (path / "new").exists()

"""Commands on a disk that is full or read-only: one message, and no half of a file is left."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from medusis_tf.commands.evaluate import evaluate
from medusis_tf.commands.export import export
from medusis_tf.commands.prepare import prepare
from medusis_tf.commands.synthesize import synthesize
from tests.command_runner import user_error
from tests.serving.small_run import make_model, make_run

REASONS = {"full": "No space left on device", "read-only": "Read-only file system"}


@pytest.fixture(params=REASONS)
def disk(request, tmp_path):
    """A function that fills a small file system or makes it read-only, and the expected reason."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not ran("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder):
        pytest.skip("this user cannot mount a small file system")

    def close():
        if request.param == "read-only":
            assert ran("mount", "-o", "remount,ro", folder)
            return
        with pytest.raises(OSError, match="No space"), (folder / "fill").open("wb", 0) as file:
            while True:
                file.write(bytes(4096))

    yield folder, close, REASONS[request.param]
    assert ran("umount", folder)


def ran(*command):
    return subprocess.run(command, capture_output=True).returncode == 0


def files(folder):
    """All files; empty folders may be left."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in found if path.name not in ("fill", ".lock"))


def refused(disk, command, *arguments):
    """Check the message of a command, and that it leaves no file."""
    folder, close, reason = disk
    close()
    before = files(folder)
    message = user_error(command, *arguments)
    assert reason in message or "Choose a file in a writable folder" in message
    assert "\n" not in message
    assert files(folder) == before


def test_prepare(disk, tmp_path_factory, tmp_path):
    run_dir = make_run(tmp_path_factory)
    values = yaml.safe_load((run_dir / "config.yaml").read_text())
    values["data"]["cache_dir"] = str(disk[0] / "cache")
    (disk[0] / "cache").mkdir()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(values))
    refused(disk, prepare, "--config", tmp_path / "config.yaml", "--jobs", 1)


def test_export(disk, tmp_path_factory):
    refused(disk, export, "--run", make_run(tmp_path_factory), "--out", disk[0])


def test_synthesize(disk, tmp_path_factory):
    model = make_model(tmp_path_factory)
    label_map = Path(make_run(tmp_path_factory)).parents[1] / "a_labels.nii.gz"
    out = disk[0] / "mr.nii.gz"
    refused(disk, synthesize, "--model", model, "--label-map", label_map, "--out", out)


def test_evaluate(disk, tmp_path_factory):
    run_dir = shutil.copytree(make_run(tmp_path_factory), disk[0] / "run")
    refused(disk, evaluate, "--run", run_dir, "--split", "test")

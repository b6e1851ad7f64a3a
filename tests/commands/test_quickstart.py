"""The commands that the quickstart starts; tests/test_packaging.py runs it as a whole."""

import sys

from medusis_tf.commands import quickstart as module
from medusis_tf.commands.quickstart import quickstart
from tests.command_runner import run_command, user_error


class Failed:
    returncode = 3


def test_the_first_command_that_fails_ends_the_quickstart(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr("medusis_tf.data.phantom.write_phantom_dataset", lambda *_, **__: None)
    monkeypatch.setattr(module.subprocess, "run", lambda line, check: lines.append(line) or Failed)
    status, printed, _ = run_command(quickstart, "--out", tmp_path / "new", "training.steps=2")
    assert status == 3
    (line,) = lines
    assert line[:6] == [sys.executable, "-m", "medusis_tf", "train", "--config", "quickstart"]
    assert line[-1] == "training.steps=2"
    assert "\n$ medusis train --config quickstart" in printed


def test_an_existing_folder_is_reported(tmp_path):
    assert "exists already" in user_error(quickstart, "--out", tmp_path)

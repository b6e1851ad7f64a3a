"""The commands that the quickstart starts; tests/test_packaging.py runs it as a whole."""

import os
import signal
import subprocess
import sys

import pytest

from medusis_tf.commands import quickstart as module
from medusis_tf.commands.quickstart import quickstart
from tests.command_runner import run_command, user_error


class Failed:
    def wait(self):
        return 3


def test_the_first_command_that_fails_ends_the_quickstart(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr("medusis_tf.data.phantom.write_phantom_dataset", lambda *_, **__: None)
    monkeypatch.setattr(module.subprocess, "Popen", lambda line: lines.append(line) or Failed())
    status, printed, _ = run_command(quickstart, "--out", tmp_path / "new", "training.steps=2")
    assert status == 3
    (line,) = lines
    assert line[:6] == [sys.executable, "-m", "medusis_tf", "train", "--config", "quickstart"]
    assert line[-1] == "training.steps=2"
    assert "\n$ medusis train --config quickstart" in printed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_command_that_runs_and_then_the_quickstart(tmp_path, number):
    code = (
        "import signal, sys, time\n"
        "def stop(number, frame):\n    print('saved', flush=True)\n    sys.exit(130)\n"
        "signal.signal(signal.SIGINT, stop); signal.signal(signal.SIGTERM, stop)\n"
        "print('ready', flush=True); time.sleep(60)\n"
    )
    (tmp_path / "child.py").write_text(code)
    script = (
        "import sys; from medusis_tf.commands.quickstart import _run\n"
        f"sys.exit(_run([sys.executable, {str(tmp_path / 'child.py')!r}]))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        assert parent.stdout.readline() == "ready\n"
        if number == signal.SIGINT:
            os.killpg(parent.pid, number)  # as a terminal does
        else:
            parent.send_signal(number)
        assert parent.stdout.readline() == "saved\n"
        assert parent.wait(30) == 130


def test_an_existing_folder_is_reported(tmp_path):
    assert "exists already" in user_error(quickstart, "--out", tmp_path)

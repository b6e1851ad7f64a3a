"""What all commands share: lines that appear, one way to fail."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from medusis_tf.command_line import run
from medusis_tf.errors import UserError

ROOT = Path(__file__).parents[1]
COMMANDS = [
    path
    for folder in ("medusis_tf", "pipelines")
    for path in sorted((ROOT / folder).glob("*.py"))
    if '__name__ == "__main__"' in path.read_text()
]


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_a_command_logs_where_it_is_heard(path):
    # Under `python -m` a module's `__name__` is "__main__", which no one listens to.
    loggers = re.findall(r"getLogger\((.*?)\)", path.read_text())
    assert all(name.startswith('"medusis_tf.') for name in loggers), loggers


def test_a_users_mistake_is_one_message_and_status_2(monkeypatch, capsys):
    def fail() -> None:
        raise UserError("the cup is empty. Fill it.")

    monkeypatch.setattr("sys.argv", ["fail"])
    with pytest.raises(SystemExit) as end:
        run(fail)
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: the cup is empty. Fill it.\n"


def test_our_own_mistake_keeps_its_traceback(monkeypatch):
    def fail() -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr("sys.argv", ["fail"])
    with pytest.raises(RuntimeError, match="ours"):
        run(fail)


# Half a gigabyte for each worker process, and seconds at every start.
NEEDS_TENSORFLOW = {"dataset", "augmentation", "random_key", "record_order"}


def test_configuration_and_preparing_need_no_tensorflow():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for folder in ("config", "data", "reports")
        for path in sorted((ROOT / "medusis_tf" / folder).glob("*.py"))
        if path.stem not in NEEDS_TENSORFLOW
    ]
    script = (
        "import importlib, sys\n"
        f"for name in {[*modules, 'medusis_tf.prepare']}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'tensorflow' not in sys.modules, name\n"
    )
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr

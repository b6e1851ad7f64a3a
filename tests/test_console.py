"""What all commands share: their log, their options, and how they fail."""

import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from medusis_tf.console import CONTEXT_SETTINGS, guard
from medusis_tf.errors import UserError
from tests.command_runner import run_command
from tests.terminal import run_on_terminal

ROOT = Path(__file__).parents[1]
COMMANDS = [
    path
    for folder in ("medusis_tf", "pipelines")
    for path in sorted((ROOT / folder).glob("*.py"))
    if '__name__ == "__main__"' in path.read_text()
]
logger = logging.getLogger("medusis_tf.test")


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_a_command_uses_a_logger_of_the_package(path):
    # Under `python -m` a module's `__name__` is "__main__", which has no handler.
    loggers = re.findall(r"getLogger\((.*?)\)", path.read_text())
    assert all(name.startswith('"medusis_tf.') for name in loggers), loggers


def test_a_user_error_is_one_message_and_status_2():
    def fail() -> None:
        raise UserError("the cup is empty. Fill it.")

    assert run_command(fail) == (2, "", "error: the cup is empty. Fill it.\n")


def test_another_exception_keeps_its_traceback():
    def fail() -> None:
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        run_command(fail)


MESSAGES = [
    "[bold]not markup[/bold] :smile: 12 'text'",
    "one line\n  warning: and another\n",
    "tab\tstop, return\rand bell\a",
    f"saved {'/a_long_folder' * 12}/step-2 with spaces   ",
]


def test_output_that_is_not_a_terminal_is_exactly_the_messages():
    def speak() -> None:
        for message in MESSAGES:
            logger.info("%s", message)

    status, out, err = run_command(speak)
    assert (status, err) == (0, "")
    assert out == "".join(f"{message}\n" for message in MESSAGES)


def test_a_long_path_on_a_terminal_is_broken_by_the_terminal_only(tmp_path):
    path = "/".join(["", *(f"a_folder_with_number_{number}" for number in range(10)), "end"])
    script = tmp_path / "speak.py"
    script.write_text(
        "import logging\n"
        "from medusis_tf.console import run\n"
        f"def speak() -> None: logging.getLogger('medusis_tf.test').info('[i]saved %s', {path!r})\n"
        "run(speak)\n"
    )
    status, rows = run_on_terminal(script)
    assert status == 0
    assert "".join(rows).rstrip() == f"[i]saved {path}"


def test_commands_of_one_application_share_the_guard():
    def train(
        overrides: Annotated[list[str] | None, typer.Argument()] = None,
        steps: Annotated[int, typer.Option()] = 1,
    ) -> None:
        """Train one experiment."""
        logger.debug("detail")
        logger.info("%d steps, %s", steps, overrides)

    def fail() -> None:
        """Fail."""
        raise UserError("no.")

    app = typer.Typer()
    for command in (train, fail):
        app.command(context_settings=CONTEXT_SETTINGS)(guard(command))
    state = logging.getLogger("medusis_tf")
    before = state.handlers, state.level, state.propagate
    runner = CliRunner()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MEDUSIS_VERBOSE", "")
            quiet = runner.invoke(app, ["train", "a=1", "--steps", "3"])
            failed = runner.invoke(app, ["fail"])
            verbose = runner.invoke(app, ["train", "a=1", "--verbose"])
            help_text = runner.invoke(app, ["train", "-h"]).output
    finally:
        state.handlers, state.level, state.propagate = before
    assert (quiet.exit_code, quiet.output) == (0, "3 steps, ['a=1']\n")
    assert (failed.exit_code, failed.stderr) == (2, "error: no.\n")
    assert (verbose.exit_code, verbose.output) == (0, "detail\n1 steps, ['a=1']\n")
    for text in ("Train one experiment.", "--steps", "--verbose"):
        assert text in help_text


# Half a gigabyte for each worker process, and seconds at every start.
NEEDS_TENSORFLOW = {"dataset", "augmentation", "random_key", "record_order", "gallery"}


def test_configuration_and_preparing_need_no_tensorflow():
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for folder in ("config", "data", "reports")
        for path in sorted((ROOT / "medusis_tf" / folder).glob("*.py"))
        if path.stem not in NEEDS_TENSORFLOW
    ]
    script = (
        "import importlib, sys\n"
        f"for name in {[*modules, 'medusis_tf.prepare', 'medusis_tf.progress']}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'tensorflow' not in sys.modules, name\n"
    )
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr

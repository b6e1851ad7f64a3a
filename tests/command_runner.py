"""Run a command in this process, as `python -m` would: a second TensorFlow takes seconds."""

import io
import logging
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from medusis_tf.console import run


def run_command(command: Callable[..., None], *arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command; exceptions that it lets through are raised."""
    logger = logging.getLogger("medusis_tf")
    before = logger.handlers, logger.level, logger.propagate
    out, err = io.StringIO(), io.StringIO()
    argv = [command.__name__, *map(str, arguments)]
    status = 0
    try:
        with patch.object(sys, "argv", argv), redirect_stdout(out), redirect_stderr(err):
            run(command)
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        logger.handlers, logger.level, logger.propagate = before
    return status, out.getvalue(), err.getvalue()


def user_error(command: Callable[..., None], *arguments: object) -> str:
    """The one message of a command that must end with exit status 2 and nothing else."""
    status, out, err = run_command(command, *arguments)
    assert status == 2, (out, err)
    assert err.startswith("error: "), err
    assert "Traceback" not in err
    assert err.count("error:") == 1
    return err.removeprefix("error: ").strip()

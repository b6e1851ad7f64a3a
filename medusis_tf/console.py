"""The console of all commands: log lines, progress displays and errors.

Log lines and progress displays share one rich console. It prints a line above a display that is
shown at that time; a line written past it would be overwritten by the next refresh.
"""

import errno
import functools
import inspect
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from medusis_tf.errors import UserError, reason
from medusis_tf.tensorflow_log import hide_tensorflow_log

console = Console()
"""Writes to `sys.stdout`, whatever it is at the time of writing."""

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"]}
"""For `typer.Typer.command`: `-h` is short for `--help`."""

_DISK_ERRORS = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO,
)  # fmt: skip
_DISK_ADVICE = "Free some space or make the folder writable, and give the same command again."
# Commands started by a command inherit its --verbose.
_VERBOSE_VARIABLE = "MEDUSIS_VERBOSE"
_Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose",
        envvar=_VERBOSE_VARIABLE,
        show_envvar=False,
        help="Also show the messages of TensorFlow.",
    ),
]


def run(command: Callable[..., None]) -> None:
    """Run `command` as a program with a single command, and exit.

    Args:
        command: Function with typer annotations; its docstring is the help text.
    """
    app = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
    )
    app.command(context_settings=CONTEXT_SETTINGS)(guard(command))
    app()


def guard(command: Callable[..., None]) -> Callable[..., None]:
    """Prepare a function for `typer.Typer.command`.

    The returned function has the additional option `--verbose`. It shows the log of the package,
    hides the messages of TensorFlow unless `--verbose` is given, and turns a `UserError` into
    `error: ...` on stderr and exit status 2, also one of a full disk or a read-only folder. Other
    exceptions keep their traceback.

    Args:
        command: Function with typer annotations; its docstring is the help text.
    """
    signature = inspect.signature(command, eval_str=True)
    option = inspect.Parameter(
        "verbose", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_Verbose
    )
    parameters = [*signature.parameters.values(), option]

    @functools.wraps(command)
    def guarded(*args: object, verbose: bool = False, **kwargs: object) -> None:
        show_log(verbose)
        try:
            with _orderly_end():
                command(*args, **kwargs)
        except UserError as error:
            fail(error)
        except Exception as error:
            if (message := disk_message(error)) is None:
                raise
            fail(UserError(message))

    # Typer reads the options from both.
    guarded.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    guarded.__annotations__ = {each.name: each.annotation for each in parameters}
    return guarded


@contextmanager
def _orderly_end() -> Iterator[None]:
    """Context in which SIGTERM removes temporary files before the process ends."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(number: int, _: object) -> NoReturn:
    sys.exit(128 + number)


def disk_message(error: Exception) -> str | None:
    """Describe an error of the disk in one line; None if it is none, but a fault of the program.

    Args:
        error: Error of the operating system, or of TensorFlow, which quotes the system in its text.
    """
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        where = f" {error.filename}" if error.filename else ""
        return f"cannot write or read{where}: {error.strerror}. {_DISK_ADVICE}"
    if type(error).__module__.startswith("tensorflow"):
        texts = [text for number in _DISK_ERRORS if (text := os.strerror(number)) in str(error)]
        if texts:
            return f"{reason(error)}. {_DISK_ADVICE}"
    return None


def fail(error: UserError) -> NoReturn:
    """Print an error of the user and exit with status 2."""
    typer.echo(f"error: {error}", err=True)
    sys.exit(2)


def show_log(verbose: bool = False) -> None:
    """Print the log of the package to stdout, one plain message per record.

    Call it before TensorFlow is imported.

    Args:
        verbose: Whether the messages of TensorFlow and debug messages appear, too.
    """
    if verbose:
        os.environ[_VERBOSE_VARIABLE] = "1"
    else:
        hide_tensorflow_log()
    logger = logging.getLogger("medusis_tf")
    logger.handlers = [_ConsoleHandler()]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


class _ConsoleHandler(logging.Handler):
    """Prints messages as they are: no markup, no colors, no line breaks of its own."""

    def emit(self, record: logging.LogRecord) -> None:
        message = self.format(record)
        if console.is_terminal:
            console.out(message, highlight=False)
        else:  # rich replaces tabs and drops control characters
            console.file.write(f"{message}\n")
            console.file.flush()

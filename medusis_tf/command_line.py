"""How every command runs: one entry point, one way to fail."""

import functools
import logging
import os
from collections.abc import Callable

import typer

from medusis_tf.errors import UserError

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help"]}


def run(command: Callable[..., None]) -> None:
    """Run `command` as a program with a single command, and exit.

    Args:
        command: A function with typer annotations; its docstring is the help text.
    """
    app = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
    )
    app.command(context_settings=CONTEXT_SETTINGS)(guard(command))
    app()


def guard(command: Callable[..., None]) -> Callable[..., None]:
    """Prepare a function for `typer.Typer.command`.

    A `UserError` becomes `error: ...` on stderr and exit status 2. Progress and results are
    logged through the `medusis_tf` logger, whose lines go to stdout as they are.
    """

    @functools.wraps(command)
    def guarded(*args: object, **kwargs: object) -> None:
        # TensorFlow's notes on CPU features and missing GPUs help nobody here.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        show_log()
        try:
            command(*args, **kwargs)
        except UserError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None

    return guarded


def show_log() -> None:
    """Send the package's log lines to stdout, as plain text."""
    logger = logging.getLogger("medusis_tf")
    logger.handlers = [_EchoHandler()]
    logger.setLevel(logging.INFO)
    logger.propagate = False


class _EchoHandler(logging.Handler):
    """Writes to what is stdout now: a live progress display puts itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(self.format(record))

"""How every command runs: one entry point, one way to fail."""

import functools
import logging
import os
from collections.abc import Callable

import typer

from medusis_tf.errors import UserError


def run(command: Callable[..., None]) -> None:
    """Run `command` as a command-line program.

    A `UserError` becomes `error: ...` on stderr and exit status 2. Progress and results are
    logged through the `medusis_tf` logger, whose lines go to stdout as they are.

    Args:
        command: A function with typer annotations; its docstring is the help text.
    """
    # TensorFlow is not loaded yet; its notes on CPU features and missing GPUs help nobody here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

    @functools.wraps(command)
    def guarded(*args: object, **kwargs: object) -> None:
        show_log()
        try:
            command(*args, **kwargs)
        except UserError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from None

    app = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown"
    )
    app.command(context_settings={"help_option_names": ["-h", "--help"]})(guarded)
    app()


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

"""Say how many subjects are prepared: a bar on a terminal, a line for each subject elsewhere."""

import logging

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)


class PreparationProgress:
    """A context that is told of every subject.

    Args:
        total: Subjects.
        done: What is done to each, as in `converted`.
        console: Where to show it; stdout if not given.
    """

    def __init__(self, total: int, done: str, console: Console | None = None):
        console = console or Console()
        self._bar = Progress(
            TextColumn(f"subjects {done}"),
            MofNCompleteColumn(),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(done, total=total)

    def __enter__(self) -> "PreparationProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, line: str) -> None:
        """One subject is done; `line` says how it went."""
        logger.info("%s", line)
        self._bar.advance(self._task)

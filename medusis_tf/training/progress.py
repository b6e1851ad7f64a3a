"""Say how far the training is: a live display on a terminal, one line per interval elsewhere."""

import logging
from datetime import timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

logger = logging.getLogger(__name__)


class TrainingProgress:
    """A context that is told of every step.

    Args:
        start: Steps already taken.
        steps: Steps to reach.
        console: Where to show it; stdout if not given.
    """

    def __init__(self, start: int, steps: int, console: Console | None = None):
        console = console or Console()
        self._steps = steps
        self._bar = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            auto_refresh=False,
        )
        self._task = self._bar.add_task("train", total=steps, completed=start, speed="compiling")
        self._losses = Text(style="dim")
        self._live = Live(Group(self._bar, self._losses), console=console, transient=False)
        self._is_live = console.is_terminal

    def __enter__(self) -> "TrainingProgress":
        if self._is_live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def advance(self) -> None:
        """One step is done."""
        self._bar.advance(self._task)

    def report(self, step: int, losses: dict[str, float], images_per_second: float) -> None:
        """An interval is done: its mean losses and its speed."""
        terms = "  ".join(f"{name} {value:.3f}" for name, value in sorted(losses.items()))
        speed = f"{images_per_second:.1f} images/s"
        self._bar.update(self._task, speed=speed)
        self._losses.plain = terms
        if not self._is_live:
            left = self._bar.tasks[0].time_remaining
            remaining = f"  {timedelta(seconds=round(left))} left" if left else ""
            logger.info("step %d/%d  %s  %s%s", step, self._steps, terms, speed, remaining)

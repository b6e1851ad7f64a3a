"""Say how many slices are painted: a bar on a terminal, a line at the end elsewhere."""

import logging
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

logger = logging.getLogger(__name__)


class PaintingProgress:
    """A context that is told of every batch.

    Args:
        name: Of the label map.
        samples: Volumes to paint of it.
        console: Where to show it; stderr if not given.
    """

    def __init__(self, name: str, samples: int, console: Console | None = None):
        console = console or Console(stderr=True)
        self._samples = samples
        self._bar = Progress(
            TextColumn("{task.description}"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(f"painting {name}", total=None, speed="")
        self._first: tuple[int, float] | None = None
        self._summary = ""

    def __enter__(self) -> "PaintingProgress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()
        if self._summary:
            logger.info("%s", self._summary)

    def report(self, sample: int, done: int, total: int) -> None:
        """`done` of the `total` slices of a sample, counted from 0, are painted."""
        painted, now = sample * total + done, time.perf_counter()
        # The first batch compiles: the speed is that of the others.
        before, since = self._first = self._first or (painted, now)
        speed = f"{(painted - before) / (now - since):.1f} slices/s" if painted > before else ""
        self._bar.update(
            self._task, completed=painted, total=self._samples * total, speed=speed or "compiling"
        )
        self._summary = f"painted {painted} slices" + (f", {speed}" if speed else "")

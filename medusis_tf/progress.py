"""Progress of long work: bars on a terminal, log lines elsewhere.

The bars stay below the log lines, because both go through the shared console.
"""

import logging
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import Self

from rich.console import RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from medusis_tf.console import console

logger = logging.getLogger(__name__)


class _ProgressDisplay:
    """Context that shows bars while it is open, if stdout is a terminal.

    Args:
        columns: What a bar shows, from left to right.
        transient: Whether the bars disappear at the end.
    """

    def __init__(self, *columns: ProgressColumn, transient: bool = False):
        self._is_live = console.is_terminal and console.is_interactive
        self._bars = _Bars(
            *columns,
            console=console,
            transient=transient,
            refresh_per_second=4,
            disable=not self._is_live,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()


class _Bars(Progress):
    """Bars with an optional line below them."""

    footer = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.footer:
            yield Text(self.footer, style="dim")


class TrainingProgress(_ProgressDisplay):
    """Shows the step, the speed and the losses of a training.

    On a terminal they are updated in place. Elsewhere every report is a log line.

    Args:
        start: Number of steps that are done before.
        steps: Number of the last step.
        batch_size: Global batch size.
    """

    def __init__(self, start: int, steps: int, batch_size: int):
        super().__init__(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("{task.fields[left]}"),
        )
        self._steps, self._batch_size = steps, batch_size
        self._has_compiled = False
        self._task = self._bars.add_task(
            "train", total=steps, completed=start, speed="compiling", left=""
        )
        if not self._is_live:
            logger.info("compiling the first step, for up to a minute on a CPU")

    def advance(self) -> None:
        """Count one step."""
        self._bars.advance(self._task)

    def report(self, step: int, losses: dict[str, float], images_per_second: float) -> None:
        """Show the mean losses and the speed of the steps since the last report."""
        terms = "  ".join(f"{name} {value:.3f}" for name, value in sorted(losses.items()))
        speed = f"{images_per_second:.1f} images/s"
        left = ""
        # The steps of the first report include compilation: nothing follows from their speed.
        if self._has_compiled and step < self._steps:
            seconds = (self._steps - step) * self._batch_size / images_per_second
            left = f"{timedelta(seconds=round(seconds))} left"
        self._bars.footer = terms
        self._bars.update(self._task, speed=speed, left=left)
        if not self._is_live:
            remaining = f"  {left}" if left else ""
            if not self._has_compiled:
                remaining = " (compilation included)"
            logger.info("step %d/%d  %s  %s%s", step, self._steps, terms, speed, remaining)
        self._has_compiled = True


class PreparationProgress(_ProgressDisplay):
    """Logs a message for each subject, and shows how many are done.

    Args:
        total: Number of subjects.
        done: Past participle for what is done to a subject, such as `converted`.
    """

    def __init__(self, total: int, done: str):
        super().__init__(
            TextColumn(f"subjects {done}"),
            MofNCompleteColumn(),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        self._task = self._bars.add_task(done, total=total)

    def advance(self, message: str) -> None:
        """Count one subject and log its result."""
        logger.info("%s", message)
        self._bars.advance(self._task)


class PaintingProgress(_ProgressDisplay):
    """Shows how many slices are synthesized, and logs their number and the speed at the end.

    Args:
        name: Name of the label map.
        samples: Number of volumes to synthesize for it.
    """

    def __init__(self, name: str, samples: int):
        super().__init__(
            TextColumn("{task.description}"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            transient=True,
        )
        self._samples = samples
        self._task = self._bars.add_task(f"painting {name}", total=None, speed="")
        self._first: tuple[int, float] | None = None
        self._summary = ""

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if self._summary:
            logger.info("%s", self._summary)

    def report(self, sample: int, done: int, total: int) -> None:
        """Show that `done` of the `total` slices of a sample, counted from 0, are finished."""
        painted, now = sample * total + done, time.perf_counter()
        # The first batch includes compilation: the speed is measured without it.
        before, since = self._first = self._first or (painted, now)
        speed = f"{(painted - before) / (now - since):.1f} slices/s" if painted > before else ""
        self._bars.update(
            self._task, completed=painted, total=self._samples * total, speed=speed or "compiling"
        )
        self._summary = f"painted {painted} slices" + (f", {speed}" if speed else "")


class EvaluationProgress(_ProgressDisplay):
    """Shows a bar for each evaluated method; elsewhere a log line when it is finished."""

    def __init__(self) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("subjects"),
            TimeElapsedColumn(),
        )
        self._tasks: dict[str, TaskID] = {}

    def report(self, method: str, done: int, total: int) -> None:
        """Show that `done` of the `total` subjects of a method are finished."""
        if method not in self._tasks:
            self._tasks[method] = self._bars.add_task(method, total=total)
        self._bars.update(self._tasks[method], completed=done)
        if done == total and not self._is_live:
            logger.info("%s: evaluated %d/%d subjects", method, done, total)

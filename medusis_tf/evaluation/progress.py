"""A bar for each method while volumes are painted and judged."""

from __future__ import annotations

from types import TracebackType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)


class EvaluationProgress:
    """Shows which method is judged, and how many subjects are done."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("subjects"),
            TimeElapsedColumn(),
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> EvaluationProgress:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def report(self, method: str, done: int, total: int) -> None:
        """Show that so many subjects of a method are done."""
        if method not in self._tasks:
            self._tasks[method] = self._progress.add_task(method, total=total)
        self._progress.update(self._tasks[method], completed=done)

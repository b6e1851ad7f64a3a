"""Two processes that run in turns, and what their times say."""

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from benchmarks.isolation import REPOSITORY
from benchmarks.timing import Spread

WARM_UP_TURNS = 2
_PATIENCE_SECONDS = 20.0


class WorkerError(Exception):
    """A worker failed or ended."""


class Worker:
    """A process of `benchmarks.peer_worker`.

    Args:
        command: Its command line.
    """

    def __init__(self, command: Sequence[str]):
        # A file, since a pipe that nobody reads would fill up.
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115
        self._process = subprocess.Popen(  # noqa: S603
            command,
            cwd=REPOSITORY,
            env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def __enter__(self) -> "Worker":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            self._process.stdin.close()  # type: ignore[union-attr]
        try:
            self._process.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]
        self._log.close()

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request, and wait for the reply.

        Raises:
            WorkerError: The worker reports an error, or ends without a reply.
        """
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise WorkerError(self._last_words()) from None
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            raise WorkerError(self._last_words())
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerError(reply["error"])
        return reply

    def _last_words(self) -> str:
        status = self._process.wait(_PATIENCE_SECONDS)
        self._log.seek(0)
        return f"the worker ended with exit status {status}\n{self._log.read()[-4000:]}"


@dataclass(frozen=True)
class Comparison:
    """A task of ours beside one of a peer.

    Attributes:
        title: What is compared, for the table.
        ours: Name of our task.
        peer: Name of the peer's.
        goal: Wanted times of the peer's speed; None for what is only for the record.
        amount: Images, slices or volumes of one run, to report the time of each.
    """

    title: str
    ours: str
    peer: str
    goal: float | None = None
    amount: float = 1.0


Turns = dict[tuple[str, str], list[dict[str, float]]]


def take_turns(
    workers: Mapping[str, Worker], comparisons: Sequence[Comparison], repeats: int
) -> Turns:
    """Run the tasks of all comparisons in turns, so that other load does not affect a single one.

    Only one task runs at a time. There are two turns more than `repeats`, the first ones, which
    compile and warm up.

    Args:
        workers: The processes `ours` and `peer`.
        comparisons: Comparisons of their tasks.
        repeats: Turns that count.

    Returns:
        Replies of all turns by side and task.
    """
    sides = ((side, getattr(each, side)) for each in comparisons for side in ("ours", "peer"))
    turns: Turns = {task: [] for task in sides}
    for _ in range(WARM_UP_TURNS + repeats):
        for (side, name), replies in turns.items():
            replies.append(workers[side].ask(run=name))
    return turns


def compare(comparison: Comparison, turns: Turns, clock: str = "seconds") -> dict[str, Any]:
    """Seconds of both sides, and how many times faster ours is.

    The ratio is that of the medians. Its quartiles are those of the ratios of single turns.

    Args:
        comparison: What is compared.
        turns: Result of `take_turns`.
        clock: `seconds`, wall clock, or `cpu_seconds`.

    Returns:
        Values by name, in seconds for each of `amount`.
    """
    found: dict[str, Any] = {"amount": comparison.amount, "goal": comparison.goal}
    for kind in ("seconds", "cpu_seconds"):
        prefix = "" if kind == clock else "other_"
        times = {
            side: [reply[kind] / comparison.amount for reply in turns[side, name]]
            for side, name in (("ours", comparison.ours), ("peer", comparison.peer))
        }
        spreads = {side: Spread.of(each[0], each[WARM_UP_TURNS:]) for side, each in times.items()}
        for side, spread in spreads.items():
            found |= spread.by_name(f"{prefix}{side}")
        found[f"{prefix}ratio"] = _ratio(spreads["peer"].median, spreads["ours"].median)
        single = list(map(_ratio, times["peer"], times["ours"]))
        quartiles = Spread.of(single[0], single[WARM_UP_TURNS:])
        found[f"{prefix}ratio_lower"] = quartiles.lower_quartile
        found[f"{prefix}ratio_upper"] = quartiles.upper_quartile
    found["verdict"] = verdict(found["ratio"], comparison.goal)
    return found


def _ratio(peer: float, ours: float) -> float:
    return peer / max(ours, 1e-9)


def verdict(ratio: float, goal: float | None) -> str:
    """Whether a ratio reaches its goal: `met`, `not met`, or nothing without a goal."""
    if goal is None:
        return ""
    return "met" if ratio >= goal else "not met"

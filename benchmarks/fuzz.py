"""Read hostile inputs of every kind, and count how each ends.

    python -m benchmarks.fuzz [--target NAME ...] [--count 10000] [--seconds 3600]
        [--state fuzz.json]

Every input must be accepted or refused with one message (`UserError`, or `Refusal` of the server).
A worker process reads the inputs of a target: first the fixed ones, then mutated seeds. Input n is
a function of the target and n, so the campaign can be stopped and resumed (`--state`), and a
failure repeated: `--target NAME --only N`.

Counted as failures:

- crash: another exception, a message that is longer than one may be, or the end
  of the process
- hang: longer than `--limit` seconds of processor time, or ten times as long in all
- memory: more than `--cap` MiB beyond what the worker had before
- escape: a file written outside the input's folder, a process started, a connection opened
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.fuzz_targets import TARGETS, Target
from medusis_tf.errors import LONGEST_LINE, MOST_LINES, UserError
from medusis_tf.files import replacing

OUTCOMES = ("accepted", "refused", "crash", "hang", "memory", "escape")
FAILURES = OUTCOMES[2:]
_BATCH = 50
_KEPT_FAILURES = 20
_WAITING = 10  # other processes may use the machine
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = {"os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.symlink", "os.link", "os.chmod"}
_RUNS = {"os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect"}


class Hang(BaseException):
    """An input takes too long."""


class Escape(BaseException):
    """An input made the process write elsewhere or start something."""


class Watch:
    """An audit hook of Python that notes what an input must not do.

    Attributes:
        root: Folder in which files may be written; None if nothing is watched.
        seen: What was done elsewhere.
    """

    def __init__(self) -> None:
        self.root: str | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.root is None:
            return
        if event == "open":
            writes = isinstance(arguments[2], int) and bool(arguments[2] & _WRITING)
            outside = writes and not self._are_inside(arguments[:1])
        else:
            paths = arguments[1:2] if event == "os.symlink" else arguments[:2]
            outside = event in _CHANGES and not self._are_inside(paths)
        if event in _RUNS or outside:
            self.seen.append(f"{event} {arguments[0]!r}"[:200])

    def _are_inside(self, paths: tuple[Any, ...]) -> bool:
        root, self.root = self.root, None
        try:
            names = [os.fsdecode(p) for p in paths if isinstance(p, str | bytes | os.PathLike)]
            return all(f"{os.path.realpath(name)}/".startswith(f"{root}/") for name in names)
        finally:
            self.root = root


def outcome(case: Any, folder: Path, watch: Watch, limit: float) -> tuple[str, str]:
    """Run one case in an empty folder; return how it ended, and its reason if it failed."""
    watch.root, watch.seen = str(folder.resolve()), []
    signal.setitimer(signal.ITIMER_PROF, limit)
    signal.setitimer(signal.ITIMER_REAL, _WAITING * limit)
    try:
        case(folder)
        found = ("accepted", "")
    except Hang:
        found = ("hang", f"longer than {limit} s of processor time")
    except MemoryError:
        found = ("memory", traceback.format_exc(limit=-3))
    except BaseException as error:
        found = _ended(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        watch.root = None
    return ("escape", "; ".join(watch.seen)) if watch.seen else found


def _ended(error: BaseException) -> tuple[str, str]:
    from medusis_tf.server.settings import Refusal

    if not isinstance(error, UserError | Refusal):
        return "crash", "".join(traceback.format_exception(error, limit=-4))[-2000:]
    message = str(error)
    longest = max(map(len, message.split("\n")))
    is_long = longest > LONGEST_LINE or message.count("\n") >= MOST_LINES
    if not message or is_long or "Traceback" in message:
        return "crash", f"a message of {len(message)} characters: {message[:300]}"
    return "refused", ""


def cases(target: Target, first: int, seeds: Path) -> Iterator[tuple[int, Any]]:
    """All cases of a target from number `first` on, endlessly: number and function of a folder."""
    fixed = list(target.fixed(seeds))
    run = target.make(seeds)
    number = first
    while True:
        if number < len(fixed):
            yield number, fixed[number]
        else:
            generator = random.Random(f"{target.name}/{number}")  # noqa: S311
            yield number, lambda folder, generator=generator: run(folder, generator)
        number += 1


def work(name: str, first: int, last: int, limit: float, cap: int, results: Connection) -> None:
    """Run the cases of a target in this process and send `(number, outcome, reason)`."""
    watch = Watch()
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, _raise_hang)
    sys.dont_write_bytecode = True
    warnings.simplefilter("ignore")
    # ITK and nibabel report each damaged file there.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with tempfile.TemporaryDirectory(prefix="fuzz_") as place:
        seeds, folder = Path(place, "seeds"), Path(place, "case")
        seeds.mkdir()
        for number, case in cases(TARGETS[name], first, seeds):
            if number >= last:
                break
            results.send((number, "started", ""))
            folder.mkdir()
            before = _set_cap(cap)
            found, reason = outcome(case, folder, watch, limit)
            resource.setrlimit(resource.RLIMIT_AS, before)
            shutil.rmtree(folder)
            results.send((number, found, reason))
    results.send((last, "end", ""))


def _set_cap(cap: int) -> tuple[int, int]:
    """Limit the memory to `cap` MiB beyond the present; return the previous limit."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + cap * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (size, before[1]))
    return before


def _raise_hang(*_: object) -> None:
    raise Hang


def fuzz(name: str, state: dict[str, Any], count: int, limit: float, cap: int, end: float) -> None:
    """Run a target up to case `count` or a time, and add to its state."""
    while state["next"] < count and time.monotonic() < end:
        last = count if end == float("inf") else min(count, state["next"] + 20 * _BATCH)
        receiver, sender = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(
            target=work, args=(name, state["next"], last, limit, cap, sender)
        )
        process.start()
        sender.close()
        number = _collect(receiver, process, state, limit, end)
        process.join()
        if number is not None:
            state["next"] = number + 1


def _collect(
    receiver: Connection, process: Any, state: dict[str, Any], limit: float, end: float
) -> int | None:
    """Count results; return the case that ended the process, None if it ended by itself."""
    running, patience = None, 300.0  # imports and seeds take a while at first
    while True:
        try:
            if not receiver.poll(patience):
                process.kill()
                _add(state, running or state["next"], "hang", "the process did not answer")
                return running if running is not None else state["next"]
            number, found, reason = receiver.recv()
        except EOFError:
            process.join()
            _add(state, running or state["next"], "crash", f"exit status {process.exitcode}")
            return running if running is not None else state["next"]
        if found == "end":
            return None
        if found == "started":
            running, patience = number, 2 * _WAITING * limit + 30
            continue
        _add(state, number, found, reason)
        state["next"] = number + 1
        if time.monotonic() > end:
            process.terminate()
            return None


def _add(state: dict[str, Any], number: int, found: str, reason: str) -> None:
    state["counts"][found] = state["counts"].get(found, 0) + 1
    if found in FAILURES and len(state["failures"]) < _KEPT_FAILURES:
        state["failures"].append({"number": number, "outcome": found, "reason": reason})


def table(states: dict[str, Any]) -> str:
    """The counts as a Markdown table."""
    lines = [f"| input | inputs | {' | '.join(OUTCOMES)} |", "|---" * (len(OUTCOMES) + 2) + "|"]
    total: Counter[str] = Counter()
    for name, state in states.items():
        counts = Counter(state["counts"])
        total += counts
        lines.append(_row(name, counts))
    return "\n".join([*lines, _row("all", total)])


def _row(name: str, counts: Counter[str]) -> str:
    cells = [f"{counts[each]:,}" for each in OUTCOMES]
    return f"| {name} | {sum(counts.values()):,} | {' | '.join(cells)} |"


def main() -> int:
    """Run the campaign, print the table, and return 1 if an input failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--count", type=int, default=10_000, help="inputs of each target")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for each target")
    parser.add_argument("--limit", type=float, default=10, help="seconds of one input")
    parser.add_argument("--cap", type=int, default=1024, help="MiB of one input")
    parser.add_argument("--state", type=Path, help="file to resume from")
    parser.add_argument("--only", type=int, help="number of the single input to read")
    arguments = parser.parse_args()
    states: dict[str, Any] = {}
    if arguments.state and arguments.state.exists():
        states = json.loads(arguments.state.read_text())
    for name in arguments.target:
        fresh = {"next": arguments.only or 0, "counts": {}, "failures": []}
        state = states.setdefault(name, fresh)
        last = arguments.count if arguments.only is None else arguments.only + 1
        end = time.monotonic() + arguments.seconds
        fuzz(name, state, last, arguments.limit, arguments.cap, end)
        if arguments.state:
            with replacing(arguments.state) as temporary:
                temporary.write_text(json.dumps(states, indent=1))
    chosen = {name: states[name] for name in arguments.target}
    for name, state in chosen.items():
        for failure in state["failures"]:
            print(f"{name} {failure['number']}: {failure['outcome']}\n{failure['reason']}\n")
    print(table(chosen))
    return int(any(state["failures"] for state in chosen.values()))


if __name__ == "__main__":
    sys.exit(main())

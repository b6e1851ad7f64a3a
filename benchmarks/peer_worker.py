"""One side of the comparison with other tools: prepares its tasks, and runs one when told to.

    python -m benchmarks.peer_worker benchmarks.peer_tasks.networks_monai [CORES]

It uses the first CORES of its processors, all by default. It reads requests from its standard
input and writes replies to its standard output, one JSON object a line. `{"prepare": settings}` is
answered with `{"tasks": [names], "facts": {...}}`, `{"run": name}` with `{"seconds": wall clock,
"cpu_seconds": all threads and finished processes}`, and what fails with `{"error": text}`. The end
of the input ends the process.

The module has a function `prepare(settings)`, which returns tasks (functions by name, which finish
all their work) and facts (values by name, for the record). This module is run in two environments,
so it imports the standard library only.
"""

import importlib
import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any, TextIO

Task = Callable[[], Any]
Prepare = Callable[[dict[str, Any]], tuple[dict[str, Task], dict[str, Any]]]


def main() -> None:
    """Serve the tasks of a module until the input ends."""
    # What libraries print must not mix with the replies.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if sys.argv[2:]:  # before libraries count the processors
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[2])])
    serve(importlib.import_module(sys.argv[1]).prepare, sys.stdin, replies)


def serve(prepare: Prepare, requests: Iterable[str], replies: TextIO) -> None:
    """Answer requests, one a line.

    Args:
        prepare: Function that makes the tasks and the facts from the settings.
        requests: Lines of JSON.
        replies: File for the replies.
    """
    tasks: dict[str, Task] = {}
    for line in requests:
        request = json.loads(line)
        try:
            if "prepare" in request:
                tasks, facts = prepare(request["prepare"])
                reply = {"tasks": list(tasks), "facts": facts}
            else:
                reply = timed(tasks[request["run"]])
        except Exception:  # the driver reports it
            reply = {"error": traceback.format_exc()}
        print(json.dumps(reply), file=replies, flush=True)


def timed(task: Task) -> dict[str, float]:
    """Run a task, and return its wall-clock and processor time in seconds."""
    start, busy = time.perf_counter(), _cpu_seconds()
    task()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "cpu_seconds": _cpu_seconds() - busy}


def _cpu_seconds() -> float:
    finished = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + finished.ru_utime + finished.ru_stime


if __name__ == "__main__":
    main()

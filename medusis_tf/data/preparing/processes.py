"""Run one function over many subjects in parallel processes."""

import contextlib
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from medusis_tf.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Starting processes, which import NumPy and SciPy, takes 2 to 3 s: too long for few small volumes.
_SECONDS_TO_SAVE = 3.0


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], jobs: int | None = None
) -> Iterator[tuple[int, Result | UserError]]:
    """Yield results and `UserError`s as they occur, each with the number of its item.

    The first items are worked on here. Processes are started once what is left would take so long
    that they save several seconds.

    Args:
        function: Importable function with picklable arguments and results.
        items: Argument of each call.
        jobs: Number of processes; None for one per processor, 1 for this process alone.

    Raises:
        UserError: A process died.
    """
    jobs = jobs or processors()
    latest = math.inf
    for number, item in enumerate(items):
        if _is_worth_it(latest, len(items) - number, jobs):
            yield from _elsewhere(function, items, number, min(jobs, len(items) - number))
            return
        start = time.perf_counter()
        result = _caught(function, item)
        if not isinstance(result, UserError):  # a damaged file says nothing of the others
            latest = time.perf_counter() - start
        yield number, result


def _is_worth_it(seconds: float, count: int, jobs: int) -> bool:
    """Whether `jobs` processes save time, if each of `count` items takes this long.

    Nothing is known before the first item, which takes infinitely long then.
    """
    if math.isinf(seconds) or min(jobs, count) <= 1:
        return False
    return seconds * count * (1 - 1 / min(jobs, count)) >= _SECONDS_TO_SAVE


def _elsewhere(
    function: Callable[[Item], Result], items: Sequence[Item], first: int, jobs: int
) -> Iterator[tuple[int, Result | UserError]]:
    """The results of the items from number `first` on, from other processes."""
    # Not forked: the threads of TensorFlow, if it runs here, do not survive a fork.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, context, initializer=_end_with_parent)
    try:
        with _interrupts_held_back():
            calls = {
                pool.submit(_caught, function, items[number]): number
                for number in range(first, len(items))
            }
        for call in as_completed(calls):
            yield calls[call], call.result()
    except BrokenProcessPool:
        raise UserError(
            f"a process that read volumes died, perhaps because {jobs} at once need too much "
            "memory. Use fewer, for example --jobs 1. The subjects converted so far are kept."
        ) from None
    except BaseException:
        # After Ctrl-C, nobody wants to wait for volumes that are being read.
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes that are started in this context ignore Ctrl-C, which the terminal sends to all.

    Each would print a traceback. This process still receives it, afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """In a worker: end when the parent process ends, even if it is killed.

    Otherwise the worker would work on what is queued, beside the next run, and then wait forever.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise ValueError("this is not a worker process")

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _caught(function: Callable[[Item], Result], item: Item) -> Result | UserError:
    try:
        return function(item)
    except UserError as error:
        return error


def processors() -> int:
    """Number of processors that this process may use, as far as the system reports it."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1

"""Run one function over many subjects in parallel processes."""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from medusis_tf.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Starting a process and importing NumPy and SciPy takes about a second: not worth it for fewer.
_MIN_ITEMS = 4


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], jobs: int | None = None
) -> Iterator[tuple[int, Result | UserError]]:
    """Yield results and `UserError`s as they occur, each with the number of its item.

    Args:
        function: Importable function with picklable arguments and results.
        items: Argument of each call.
        jobs: Number of processes; None for one per processor, 1 for this process alone.

    Raises:
        UserError: A process died.
    """
    jobs = min(jobs or processors(), len(items))
    if jobs <= 1 or len(items) < _MIN_ITEMS:
        for number, item in enumerate(items):
            yield number, _caught(function, item)
        return
    # Not forked: the threads of TensorFlow, if it runs here, do not survive a fork.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(jobs, context, initializer=_end_with_parent)
    try:
        with _interrupts_held_back():
            calls = {pool.submit(_caught, function, item): n for n, item in enumerate(items)}
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

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

# Starting a process and importing NumPy and SciPy takes about a second: not worth it for less.
_FEWEST_ITEMS = 4


def in_processes(
    function: Callable[[Item], Result], items: Sequence[Item], jobs: int | None = None
) -> Iterator[tuple[int, Result | UserError]]:
    """Results as they come, each with the number of its item; a `UserError` is a result too.

    Args:
        function: Importable, its arguments and results picklable.
        items: One for each call.
        jobs: Processes; None for one per processor, and 1 for this process alone.

    Raises:
        UserError: A process died.
    """
    jobs = min(jobs or processors(), len(items))
    if jobs <= 1 or len(items) < _FEWEST_ITEMS:
        for number, item in enumerate(items):
            yield number, _caught(function, item)
        return
    # Not forked: TensorFlow's threads, if it runs here, would not survive that.
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
            f"a process that was reading volumes died, perhaps for want of memory with {jobs} at "
            "once. Try fewer: --jobs 1. What was converted so far is kept."
        ) from None
    except BaseException:
        # Whoever presses Ctrl-C does not want to wait for volumes that are being read.
        for worker in set(multiprocessing.active_children()) - others:
            worker.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Processes started meanwhile never see Ctrl-C, which the terminal sends to all; this one does.

    They would each answer with a traceback.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """In a worker: end when the process that started it does, even if that was killed.

    Left alone it would work off what is queued, beside the next run, and then wait for ever.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise ValueError("this is no worker process")

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
    """How many processors this process may use, where the system tells."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1

"""The one thread that runs models, with a bounded queue before it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, TypeVar

from medusis_tf.server.monitoring import Monitoring
from medusis_tf.server.settings import Refusal, ServerLimits

T = TypeVar("T")
_POLL_SECONDS = 0.5


class Inference:
    """Runs one call at a time, in order of arrival: TensorFlow itself uses all processors.

    Args:
        limits: Limits of the server.
        monitoring: Its gauge of the queue is kept up to date.
    """

    def __init__(self, limits: ServerLimits, monitoring: Monitoring):
        self._limits = limits
        self._monitoring = monitoring
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._pending = 0
        self._futures: set[Future[Any]] = set()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Enqueue a call. To be called in the event loop.

        Raises:
            Refusal: The queue is full.
        """
        if self._pending >= self._limits.queue:
            raise Refusal(
                503, f"{self._pending} requests wait already, the limit. Try again later."
            )
        loop = asyncio.get_running_loop()
        self._count(1)
        future = self._executor.submit(call)
        self._futures.add(future)

        def finish(done: Future[T]) -> None:
            self._futures.discard(done)
            with suppress(RuntimeError):  # the loop may be closed
                loop.call_soon_threadsafe(self._count, -1)

        future.add_done_callback(finish)
        return future

    async def run(self, call: Callable[[], T], is_gone: Callable[[], Awaitable[bool]]) -> T:
        """Enqueue a call and wait for its result.

        Args:
            call: What to run.
            is_gone: Whether the client has gone.

        Raises:
            Refusal: The queue is full, the time is over, the client has gone, or the server stops.
                A call that waits is removed; one that runs is finished, and its result discarded.
        """
        future = self.submit(call)
        waiting = asyncio.wrap_future(future)
        try:
            async with asyncio.timeout(self._limits.seconds):
                while not (await asyncio.wait({waiting}, timeout=_POLL_SECONDS))[0]:
                    if await is_gone():
                        raise Refusal(499, "the client has gone.")
        except TimeoutError:
            raise Refusal(
                504, f"the result was not ready within {self._limits.seconds:g} s, the limit."
            ) from None
        finally:
            future.cancel()
            waiting.cancel()
        if waiting.cancelled():
            raise Refusal(503, "the server is stopping.")
        return waiting.result()

    def stop(self) -> None:
        """Drop what waits. What runs is finished."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def wait(self, seconds: float) -> bool:
        """Wait for the call that runs. To be called after `stop`, not in the event loop.

        Returns:
            Whether it has ended.
        """
        return not wait(list(self._futures), seconds).not_done

    def _count(self, change: int) -> None:
        self._pending += change
        self._monitoring.queue.set(self._pending)

"""Received bodies that are in memory: their number of bytes is bounded."""

from __future__ import annotations

import threading

from medusis_tf.server.settings import Refusal, ServerLimits

SCOPE_KEY = "medusis.body"
"""Key of the `Body` of a request in its ASGI scope."""


class Bodies:
    """The sum of all bodies in memory, from the first byte until nobody needs them any more.

    Args:
        limits: Limits of the server.
    """

    def __init__(self, limits: ServerLimits):
        self.limits = limits
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def total(self) -> int:
        """Number of bytes."""
        return self._bytes

    def change(self, size: int) -> None:
        """Add bytes, or take them away."""
        with self._lock:
            self._bytes += size


class Body:
    """The bytes of one request. It belongs to the request, and also to its job.

    Args:
        bodies: Sum of all.
    """

    def __init__(self, bodies: Bodies):
        self._bodies = bodies
        self._size = 0
        self._owners = 1
        self._lock = threading.Lock()

    def add(self, size: int) -> None:
        """Count received bytes.

        Raises:
            Refusal: This body, or all together, are larger than the limit.
        """
        limits = self._bodies.limits
        check_size(self._size + size, limits)
        self._size += size
        self._bodies.change(size)
        if self._bodies.total > limits.all_bytes:
            raise Refusal(503, "the server is busy with large requests. Try again later.")

    def count_answer(self, size: int) -> None:
        """Count the answer, which may be larger; it is never refused, but others are."""
        self._size += size
        self._bodies.change(size)

    def keep(self) -> None:
        """Add an owner."""
        with self._lock:
            self._owners += 1

    def release(self) -> None:
        """Remove an owner; after the last one, the bytes do not count any more."""
        with self._lock:
            self._owners -= 1
            is_last = self._owners == 0
        if is_last:
            self._bodies.change(-self._size)


def check_size(size: int, limits: ServerLimits) -> None:
    """Check the size of a body.

    Raises:
        Refusal: It is larger than the limit.
    """
    if size > limits.body_bytes:
        raise Refusal(413, f"the body is larger than {limits.body_bytes} bytes, the limit.")

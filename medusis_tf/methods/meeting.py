"""The workers of a run wait for each other before TensorFlow connects them.

In TensorFlow 2.21, the chief waits an hour for the others, and holds the lock of Python meanwhile:
neither a deadline nor Ctrl-C ends it.
"""

from __future__ import annotations

import logging
import re
import selectors
import socket
import time
from contextlib import suppress
from dataclasses import dataclass

from medusis_tf.errors import UserError

logger = logging.getLogger(__name__)

# A worker sends its number. The chief asks all whether they are still there, then starts them.
_GREETING = re.compile(rb"medusis_tf worker (\d{1,6}) of (\d{1,6})\n")
_LONGEST_GREETING = 64
_ASK, _ANSWER, _START = b"?", b"!", b"*"
# Seconds between looks at the clock, and until whoever connected must have answered.
_PAUSE, _PATIENCE = 0.2, 2.0


def meet(addresses: list[str], number: int, seconds: float) -> None:
    """Return once all workers are there.

    Args:
        addresses: `host:port` of all workers; the first one is the chief.
        number: Number of this worker, from 0.
        seconds: Longest wait.

    Raises:
        UserError: A worker did not come in time, or the port of the chief is in use.
    """
    count = len(addresses)
    if count == 1:
        return
    deadline = time.monotonic() + seconds
    if number == 0:
        others = f"{count - 1} other workers" if count > 2 else f"worker 1 ({addresses[1]})"
        logger.info("waiting for %s, for up to %g s", others, seconds)
        with listen(addresses[0], 0) as server:
            missing = _Reception(server, count).wait(deadline)
    else:
        logger.info("waiting until the chief (%s) has all, for up to %g s", addresses[0], seconds)
        missing = [] if _reach_chief(addresses[0], number, count, deadline) else [0]
    if missing:
        listed = ", ".join(f"{_name(each)} ({addresses[each]})" for each in missing)
        raise UserError(
            f"the {count} workers have not found each other within {seconds:g} seconds. Missing: "
            f"{listed}. Check that all are started and reach the chief at {addresses[0]}; raise "
            "training.worker_timeout to wait longer."
        )


def listen(address: str, number: int) -> socket.socket:
    """Listen at the port of a worker.

    Args:
        address: Its `host:port`.
        number: Its number, for the message.

    Raises:
        UserError: Its port is in use.
    """
    port = int(address.rpartition(":")[2])
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise UserError(
            f"worker {number} cannot listen at {address}: {error.strerror}. Stop the program that "
            f"uses port {port}, or give the worker another one in TF_CONFIG."
        ) from None


def _name(number: int) -> str:
    return f"worker {number}" if number else "the chief"


@dataclass(eq=False)
class _Guest:
    """Whoever has connected with the chief.

    Attributes:
        connection: The connection, which does not block.
        leaves: Time at which the guest is sent away if it has not said what it must.
        received: What it has said so far.
        number: Number of the worker, once it has said it.
    """

    connection: socket.socket
    leaves: float
    received: bytes = b""
    number: int | None = None


class _Reception:
    """Lets workers in at the port of the chief, until all are there.

    Args:
        server: Listens at the port.
        count: Number of workers, with the chief.
    """

    def __init__(self, server: socket.socket, count: int):
        self._server, self._count = server, count
        self._selector = selectors.DefaultSelector()
        self._guests: set[_Guest] = set()
        self._awaited: set[_Guest] | None = None  # those that have not answered, once asked

    def wait(self, deadline: float) -> list[int]:
        """Start all once they are there, and return the numbers of those that did not come."""
        self._server.setblocking(False)
        self._selector.register(self._server, selectors.EVENT_READ)
        try:
            while (left := deadline - time.monotonic()) > 0:
                for key, _ in self._selector.select(min(left, _PAUSE)):
                    if key.data is None:
                        self._let_in()
                    else:
                        self._hear(key.data)
                self._send_late_away()
                if self._are_there():
                    return self._start_all()
            return self._missing()
        finally:
            for guest in tuple(self._guests):
                self._send_away(guest)
            self._selector.close()

    def _let_in(self) -> None:
        try:
            connection = self._server.accept()[0]
        except OSError as error:  # it has gone again, or there are too many
            logger.debug("cannot accept a connection: %s", error)
            return
        connection.setblocking(False)
        guest = _Guest(connection, time.monotonic() + _PATIENCE)
        self._guests.add(guest)
        self._selector.register(connection, selectors.EVENT_READ, guest)

    def _hear(self, guest: _Guest) -> None:
        if guest not in self._guests:
            return
        try:
            said = guest.connection.recv(_LONGEST_GREETING)
        except BlockingIOError:
            return
        except OSError:
            said = b""
        if not said:
            self._send_away(guest)
        elif guest.number is None:
            guest.received += said
            if b"\n" in guest.received or len(guest.received) >= _LONGEST_GREETING:
                self._recognize(guest)
        elif self._awaited is not None and _ANSWER in said:
            self._awaited.discard(guest)

    def _recognize(self, guest: _Guest) -> None:
        found = _GREETING.fullmatch(guest.received)
        number, count = map(int, found.groups()) if found else (0, 0)
        if count != self._count or not 0 < number < count:
            self._send_away(guest)
            return
        for other in tuple(self._guests):
            if other.number == number:  # started again; if it still lives, it connects again
                self._send_away(other)
        guest.number = number

    def _send_away(self, guest: _Guest) -> None:
        self._guests.discard(guest)
        self._selector.unregister(guest.connection)
        guest.connection.close()
        if guest.number is not None:
            self._awaited = None  # ask all again once it is back

    def _send_late_away(self) -> None:
        now = time.monotonic()
        late = {each for each in self._guests if each.number is None} | (self._awaited or set())
        for guest in late:
            if guest.leaves < now:
                self._send_away(guest)

    def _are_there(self) -> bool:
        """Whether all are there and have answered; ask them if they are."""
        if self._missing():
            return False
        if self._awaited is None:
            self._awaited = {each for each in self._guests if each.number is not None}
            for guest in tuple(self._awaited):
                guest.leaves = time.monotonic() + _PATIENCE
                with suppress(OSError):  # heard of next time
                    guest.connection.send(_ASK)
        return not self._awaited

    def _missing(self) -> list[int]:
        present = {each.number for each in self._guests}
        return [number for number in range(1, self._count) if number not in present]

    def _start_all(self) -> list[int]:
        """Start all, and return the numbers of those that have gone since they answered."""
        gone = []
        for guest in self._guests:
            if guest.number is not None:
                try:
                    guest.connection.send(_START)
                except OSError:
                    gone.append(guest.number)
        return sorted(gone)


def _reach_chief(address: str, number: int, count: int, deadline: float) -> bool:
    """Connect with the chief, again and again, and return whether it started all in time."""
    host, _, port = address.rpartition(":")
    while (left := deadline - time.monotonic()) > 0:
        patience = min(left, _PATIENCE)
        try:
            with socket.create_connection((host.strip("[]"), int(port)), patience) as connection:
                connection.sendall(b"medusis_tf worker %d of %d\n" % (number, count))
                if _is_started(connection, deadline):
                    return True
        except (OSError, UnicodeError) as error:
            logger.debug("the chief at %s does not answer yet: %s", address, error)
        time.sleep(_PAUSE)
    return False


def _is_started(connection: socket.socket, deadline: float) -> bool:
    """Answer the chief until it starts all, closes the connection, or the time is over."""
    connection.settimeout(_PAUSE)
    while time.monotonic() < deadline:
        try:
            said = connection.recv(1)
        except TimeoutError:
            continue
        if said == _ASK:
            connection.sendall(_ANSWER)
        else:
            return said == _START
    return False

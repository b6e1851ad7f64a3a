"""The workers of a run wait for each other before TensorFlow connects them.

In TensorFlow 2.21, the chief waits an hour for the others, and holds the lock of Python meanwhile:
neither a deadline nor Ctrl-C ends it.
"""

from __future__ import annotations

import logging
import re
import socket
import time
from contextlib import ExitStack, suppress

from medusis_tf.errors import UserError

logger = logging.getLogger(__name__)

# A worker sends its number. The chief asks all whether they are still there, then starts them.
_GREETING = re.compile(rb"medusis_tf worker (\d{1,6})\n")
_ASK, _ANSWER, _START = b"?", b"!", b"*"
# Seconds between attempts to connect, and until whoever connected must have answered.
_PAUSE, _PATIENCE = 0.2, 2.0


def meet(addresses: list[str], number: int, seconds: float) -> None:
    """Return once all workers are there.

    Args:
        addresses: `host:port` of all workers; the first one is the chief.
        number: Number of this worker, from 0.
        seconds: Longest wait.

    Raises:
        UserError: A worker did not come in time.
    """
    if len(addresses) == 1:
        return
    deadline = time.monotonic() + seconds
    if number == 0:
        missing = _wait_for_others(addresses, deadline)
    else:
        missing = [] if _reach_chief(addresses[0], number, deadline) else [0]
    if missing:
        listed = ", ".join(f"{_name(each)} ({addresses[each]})" for each in missing)
        raise UserError(
            f"the {len(addresses)} workers have not found each other within {seconds:g} seconds, "
            f"ten times training.worker_timeout. Missing: {listed}. Check that all are started and "
            f"reach the chief at {addresses[0]}."
        )


def _name(number: int) -> str:
    return f"worker {number}" if number else "the chief"


def _wait_for_others(addresses: list[str], deadline: float) -> list[int]:
    """Wait at the port of the chief, and return the numbers of the workers that did not come."""
    others: dict[int, socket.socket] = {}
    numbers = range(1, len(addresses))
    logger.info("waiting for %d other workers at %s", len(numbers), addresses[0])
    with _listen(int(addresses[0].rpartition(":")[2])) as server, ExitStack() as opened:
        while len(others) < len(numbers) and (left := deadline - time.monotonic()) > 0:
            server.settimeout(left)
            try:
                connection = opened.enter_context(server.accept()[0])
            except TimeoutError:
                break
            number = _greeted(connection)
            if number is not None and number in numbers:
                others[number] = connection
            else:
                connection.close()
            if len(others) == len(numbers):
                # Some may have ended while the last one came.
                others = {each: others[each] for each in others if _answers(others[each])}
        missing = [each for each in numbers if each not in others]
        return missing or [each for each in numbers if not _sent(others[each], _START)]


def _listen(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", port))


def _greeted(connection: socket.socket) -> int | None:
    """Receive the number of a worker; None of anybody else."""
    connection.settimeout(_PATIENCE)
    try:
        with connection.makefile("rb") as lines:
            greeting = _GREETING.fullmatch(lines.readline(64))
    except OSError:
        return None
    return int(greeting[1]) if greeting else None


def _answers(connection: socket.socket) -> bool:
    """Ask a worker whether it is still there. One that is too late has to connect again."""
    if _sent(connection, _ASK):
        with suppress(OSError):
            if connection.recv(1) == _ANSWER:
                return True
    connection.close()
    return False


def _sent(connection: socket.socket, message: bytes) -> bool:
    try:
        connection.sendall(message)
    except OSError:
        return False
    return True


def _reach_chief(address: str, number: int, deadline: float) -> bool:
    """Connect with the chief, again and again, and return whether it started all in time."""
    host, _, port = address.rpartition(":")
    while (left := deadline - time.monotonic()) > 0:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), _PATIENCE) as connection:
                connection.sendall(b"medusis_tf worker %d\n" % number)
                connection.settimeout(left)
                while (received := connection.recv(1)) == _ASK:
                    connection.sendall(_ANSWER)
                if received == _START:
                    return True
        except (OSError, UnicodeError) as error:
            logger.debug("the chief at %s does not answer yet: %s", address, error)
        time.sleep(_PAUSE)
    return False

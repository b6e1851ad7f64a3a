"""Workers start once all are there, and name those that do not come."""

import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from medusis_tf.errors import UserError
from medusis_tf.methods import meeting
from medusis_tf.methods.meeting import meet

SECONDS = 60


@pytest.fixture
def addresses():
    """Addresses of three workers. Nobody connects with any but the first."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return [f"127.0.0.1:{port}", "127.0.0.1:1", "127.0.0.1:2"]


def connect(addresses):
    """Connect with the chief once it listens."""
    host, _, port = addresses[0].rpartition(":")
    while True:
        try:
            return socket.create_connection((host, int(port)), SECONDS)
        except ConnectionRefusedError:
            time.sleep(0.05)


def greet(addresses, number):
    connection = connect(addresses)
    connection.sendall(b"medusis_tf worker %d of %d\n" % (number, len(addresses)))
    return connection


def is_closed(connection):
    """Wait until the other side closes; it resets if it has not read all."""
    with contextlib.suppress(ConnectionResetError):
        return connection.recv(1) == b""
    return True


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_all_start_once_all_are_there(addresses, order, host):
    if host == "[::1]" and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    addresses = [addresses[0].replace("127.0.0.1", host), *addresses[1:]]
    with ThreadPoolExecutor(3) as pool:
        meetings = []
        for number in order:
            assert not any(each.done() for each in meetings)
            meetings.append(pool.submit(meet, addresses, number, SECONDS))
            time.sleep(0.3)
        assert [each.result(SECONDS) for each in meetings] == [None] * 3


def test_one_worker_waits_for_nobody():
    meet(["nowhere:1"], 0, 0)


@pytest.mark.parametrize(
    ("number", "missing"),
    [(0, r"worker 1 \(127.0.0.1:1\), worker 2 \(127.0.0.1:2\)"), (1, r"the chief \(127.0.0.1:")],
)
def test_who_does_not_come_is_named(addresses, number, missing):
    with pytest.raises(UserError, match=rf"within 1 seconds.*Missing: {missing}"):
        meet(addresses, number, 1)


@pytest.mark.parametrize("host", ["no.such.host", "a" * 70, "bad..name"])
def test_a_chief_without_an_address_is_one_message(addresses, host):
    with pytest.raises(UserError, match=rf"Missing: the chief \({host}:9000\)"):
        meet([f"{host}:9000", *addresses[1:]], 1, 1)


def test_a_port_in_use_is_one_message(addresses):
    message = r"worker 0 cannot listen at 127\.0\.0\.1:.*TF_CONFIG"
    used = socket.create_server(("127.0.0.1", int(addresses[0].rpartition(":")[2])))
    with used, pytest.raises(UserError, match=message):
        meet(addresses, 0, SECONDS)


def test_a_worker_that_ended_is_waited_for_again(addresses):
    with ThreadPoolExecutor(3) as pool:
        chief = pool.submit(meet, addresses, 0, SECONDS)
        greet(addresses, 1).close()
        second = pool.submit(meet, addresses, 2, SECONDS)
        time.sleep(0.5)
        assert not chief.done()
        assert not second.done()
        pool.submit(meet, addresses, 1, SECONDS).result(SECONDS)
        chief.result(SECONDS)
        second.result(SECONDS)


def test_a_worker_that_was_started_again_takes_its_place(addresses):
    with ThreadPoolExecutor(3) as pool:
        chief = pool.submit(meet, addresses, 0, SECONDS)
        with greet(addresses, 1) as old, greet(addresses, 1) as new:
            assert is_closed(old)
            new.close()
            others = [pool.submit(meet, addresses, number, SECONDS) for number in (1, 2)]
            assert [each.result(SECONDS) for each in (chief, *others)] == [None] * 3


def test_a_worker_that_does_not_answer_has_to_connect_again(addresses, monkeypatch):
    monkeypatch.setattr(meeting, "_PATIENCE", 0.5)
    with ThreadPoolExecutor(2) as pool:
        chief = pool.submit(meet, addresses[:2], 0, SECONDS)
        with greet(addresses[:2], 1) as busy:
            assert busy.recv(1) == b"?"
            assert is_closed(busy)
        meet(addresses[:2], 1, SECONDS)
        chief.result(SECONDS)


def test_a_worker_that_leaves_after_it_was_asked_is_waited_for(addresses):
    with ThreadPoolExecutor(3) as pool:
        chief = pool.submit(meet, addresses, 0, SECONDS)
        with greet(addresses, 1) as first, greet(addresses, 2) as second:
            assert (first.recv(1), second.recv(1)) == (b"?", b"?")
            first.sendall(b"!")
            second.close()
            pool.submit(meet, addresses, 2, SECONDS)
            assert first.recv(1) == b"?"
            first.sendall(b"!")
            assert first.recv(1) == b"*"
        chief.result(SECONDS)


@pytest.mark.parametrize(
    "greeting",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" * 200,
        b"medusis_tf worker 9 of 2\n",
        b"medusis_tf worker 0 of 2\n",
        b"medusis_tf worker 1 of 3\n",
    ],
)
def test_whoever_is_no_worker_is_sent_away(addresses, greeting):
    with ThreadPoolExecutor(2) as pool:
        chief = pool.submit(meet, addresses[:2], 0, SECONDS)
        with connect(addresses) as stranger:
            stranger.sendall(greeting)
            assert is_closed(stranger)
        assert not chief.done()
        meet(addresses[:2], 1, SECONDS)
        chief.result(SECONDS)


def test_who_says_too_little_is_sent_away_in_time(addresses, monkeypatch):
    """Also if it says a little again and again: the greeting is 25 bytes long."""
    monkeypatch.setattr(meeting, "_PATIENCE", 0.5)
    with ThreadPoolExecutor(1) as pool:
        chief = pool.submit(meet, addresses[:2], 0, SECONDS)
        stranger, said = connect(addresses), 0
        with stranger, contextlib.suppress(OSError):
            while said < 1000:
                stranger.sendall(b"m")
                said += 1
                time.sleep(0.1)
        assert said < meeting._LONGEST_GREETING
        meet(addresses[:2], 1, SECONDS)
        chief.result(SECONDS)


def test_the_silent_hold_nobody_up(addresses, monkeypatch):
    monkeypatch.setattr(meeting, "_PATIENCE", 10.0 * SECONDS)
    with ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as opened:
        chief = pool.submit(meet, addresses[:2], 0, SECONDS)
        for _ in range(30):
            opened.enter_context(connect(addresses))
        meet(addresses[:2], 1, SECONDS)
        chief.result(SECONDS)


def test_a_chief_that_never_starts_is_left_in_time(addresses):
    """A server that always asks does not hold a worker up."""

    def ask():
        with socket.create_server(("", int(addresses[0].rpartition(":")[2]))) as server:
            connection = server.accept()[0]
            with connection, contextlib.suppress(OSError):
                while connection.recv(64):
                    connection.sendall(b"?")

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        with pytest.raises(UserError, match="Missing: the chief"):
            meet(addresses, 1, 2)
        asked.result(SECONDS)


def test_any_wait_is_possible(addresses):
    """Seconds that no clock holds: `training.worker_timeout` has no upper bound."""
    with ThreadPoolExecutor(2) as pool:
        meetings = [pool.submit(meet, addresses[:2], number, 10**12) for number in (0, 1)]
        assert [each.result(SECONDS) for each in meetings] == [None] * 2


def test_the_port_is_free_again_for_tensorflow(addresses):
    def chief():
        meet(addresses[:2], 0, SECONDS)
        host, _, port = addresses[0].rpartition(":")
        with socket.create_server((host, int(port))):
            return True

    with ThreadPoolExecutor(1) as pool:
        listens = pool.submit(chief)
        meet(addresses[:2], 1, SECONDS)
        assert listens.result(SECONDS)

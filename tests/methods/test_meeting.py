"""Workers start once all are there, and name those that do not come."""

import contextlib
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from medusis_tf.errors import UserError
from medusis_tf.methods.meeting import meet


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
            return socket.create_connection((host, int(port)), 60)
        except ConnectionRefusedError:
            time.sleep(0.05)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_all_start_once_all_are_there(addresses, order):
    with ThreadPoolExecutor(3) as pool:
        meetings = []
        for number in order:
            assert not any(each.done() for each in meetings)
            meetings.append(pool.submit(meet, addresses, number, 60))
            time.sleep(0.3)
        assert [each.result(60) for each in meetings] == [None] * 3


def test_one_worker_waits_for_nobody():
    meet(["nowhere:1"], 0, 0)


@pytest.mark.parametrize(
    ("number", "missing"),
    [(0, r"worker 1 \(127.0.0.1:1\), worker 2 \(127.0.0.1:2\)"), (1, r"the chief \(127.0.0.1:")],
)
def test_who_does_not_come_is_named(addresses, number, missing):
    with pytest.raises(UserError, match=rf"within 1 seconds.*Missing: {missing}"):
        meet(addresses, number, 1)


def test_a_worker_without_an_address_is_one_message(addresses):
    with pytest.raises(UserError, match=r"Missing: the chief \(no.such.host:9000\)"):
        meet(["no.such.host:9000", *addresses[1:]], 1, 1)


def test_a_worker_that_ended_is_waited_for_again(addresses):
    with ThreadPoolExecutor(3) as pool:
        chief = pool.submit(meet, addresses, 0, 60)
        with connect(addresses) as ended:
            ended.sendall(b"medusis_tf worker 1\n")
        second = pool.submit(meet, addresses, 2, 60)
        time.sleep(0.5)
        assert not chief.done()
        assert not second.done()
        pool.submit(meet, addresses, 1, 60).result(60)
        chief.result(60)
        second.result(60)


def test_a_worker_that_does_not_answer_connects_again(addresses):
    """The chief closes its connection, instead of letting it wait."""
    with ThreadPoolExecutor(2) as pool:
        pool.submit(meet, addresses[:2], 0, 5)
        with connect(addresses) as busy:
            busy.sendall(b"medusis_tf worker 1\n")
            assert busy.recv(1) == b"?"
            assert busy.recv(1) == b""


@pytest.mark.parametrize(
    "greeting",
    [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 200, b"medusis_tf worker 9\n", b"medusis_tf worker 0\n"],
)
def test_whoever_is_no_worker_is_not_counted(addresses, greeting):
    with ThreadPoolExecutor(2) as pool:
        chief = pool.submit(meet, addresses[:2], 0, 60)
        with connect(addresses) as stranger:
            stranger.sendall(greeting)
            # It is reset if what it sent was not read to the end.
            with contextlib.suppress(ConnectionResetError):
                assert stranger.recv(1) == b""
        assert not chief.done()
        meet(addresses[:2], 1, 60)
        chief.result(60)


def test_the_port_is_free_again_for_tensorflow(addresses):
    def chief():
        meet(addresses[:2], 0, 60)
        host, _, port = addresses[0].rpartition(":")
        with socket.create_server((host, int(port))):
            return True

    with ThreadPoolExecutor(1) as pool:
        listens = pool.submit(chief)
        meet(addresses[:2], 1, 60)
        assert listens.result(60)

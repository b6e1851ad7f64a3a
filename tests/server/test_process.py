"""The server as a process: slow clients, a full queue, SIGTERM; and its command."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from benchmarks import fuzz_http
from medusis_tf.commands.serve import serve
from medusis_tf.server import process
from medusis_tf.server.guard import is_loopback
from medusis_tf.server.process import read_token
from tests.command_runner import user_error
from tests.server.small_server import label_map_file
from tests.serving.small_run import make_model

CODE = """
import sys
from pathlib import Path
from medusis_tf.console import show_log
from medusis_tf.server import process
from medusis_tf.server.application import create_application
from medusis_tf.server.served_models import ServedModels
from medusis_tf.server.settings import ServerLimits
show_log()
process._Protocol.header_seconds = 1.0
limits = ServerLimits(body_seconds=1.0)
application = create_application(ServedModels([Path(sys.argv[1])]), limits)
process.run_server(application, "127.0.0.1", 0, limits)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A process with short times for slow clients, and its port."""
    model = make_model(tmp_path_factory)
    command = [sys.executable, "-c", CODE, str(model)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in started.stdout:
        if found := re.search(r"serving on http://127\.0\.0\.1:(\d+)", line):
            break
    yield started, int(found.group(1))
    if started.poll() is None:
        started.kill()
    started.wait()
    started.stdout.close()


def ask(port, method, path, body=None, headers=()):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request(method, path, body, dict(headers))
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def raw(port, sent):
    """Send bytes and return all that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(sent)
        received = b""
        while chunk := connection.recv(2**16):
            received += chunk
    return received


def test_slow_clients_are_cut_off(server):
    _, port = server
    head = b"POST /synthesize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    received = raw(port, head + b"only a part")
    assert received.startswith(b"HTTP/1.1 408")
    assert b"did not arrive within 1 s" in received
    assert raw(port, b"GET /healthz HTTP/1.1\r\nHost: loc") == b""
    assert raw(port, b"") == b""
    assert ask(port, "GET", "/healthz")[0] == 200


def test_mutated_requests_are_answered_or_their_connections_closed(server):
    _, port = server
    seeds = fuzz_http.valid_requests("small")
    assert {fuzz_http.send(port, seed) for seed in seeds} <= {"2xx", "4xx"}
    endings = [fuzz_http.send(port, fuzz_http.mutated(seeds, 0, n)) for n in range(80)]
    assert not set(endings) & set(fuzz_http.FAILURES)
    assert {"2xx", "4xx"} <= set(endings)


def test_clients_that_do_not_read_are_cut_off(server):
    _, port = server
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**12)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"GET /page/niivue.umd.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 8)
        time.sleep(4)
        received = 0
        with suppress(ConnectionResetError):
            while chunk := connection.recv(2**16):
                received += len(chunk)
    assert received < 4 * len(ask(port, "GET", "/page/niivue.umd.js")[1])
    assert ask(port, "GET", "/healthz")[0] == 200


def test_broken_http_and_paths_are_refused(server):
    _, port = server
    assert raw(port, b"\x16\x03\x01 no http\r\n\r\n").startswith(b"HTTP/1.1 400")
    for path in ("/page/../process.py", "/page/%2e%2e/process.py", "//etc/passwd", "/jobs/%00"):
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert raw(port, request.encode()).startswith(b"HTTP/1.1 404")
    assert ask(port, "GET", "/healthz")[0] == 200


def test_many_requests_at_once_are_all_answered(server, tmp_path):
    _, port = server
    body = label_map_file(tmp_path).read_bytes()
    answers = []

    def send():
        answers.append(ask(port, "POST", "/synthesize?seed=1", body))

    threads = [threading.Thread(target=send) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status for status, _ in answers] == [200] * 20
    assert len({content for _, content in answers}) == 1


def test_sigterm_finishes_running_requests_and_ends_with_0(server, tmp_path):
    started, port = server
    body = label_map_file(tmp_path).read_bytes()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask(port, "POST", "/synthesize", body)))
    thread.start()
    time.sleep(0.3)
    started.send_signal(signal.SIGTERM)
    assert started.wait(60) == 0
    thread.join()
    assert answers[0][0] == 200


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("x", False)],  # noqa: S104
)
def test_loopback_addresses(host, expected):
    assert is_loopback(host) is expected


def test_other_machines_need_a_token(tmp_path):
    message = user_error(serve, "--model", tmp_path, "--host", "0.0.0.0")  # noqa: S104
    assert "Give --token-file FILE" in message
    path = tmp_path / "token"
    path.write_text("short\n")
    assert "at least 16 ASCII characters" in user_error(
        serve, "--model", tmp_path, "--token-file", path
    )
    path.write_text("a-long-enough-token\n")
    assert read_token(path, "0.0.0.0") == "a-long-enough-token"  # noqa: S104


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_token_is_read_from_a_regular_file_only(tmp_path, make):
    make(tmp_path / "token")
    arguments = ("--model", tmp_path, "--token-file", tmp_path / "token")
    assert "not a regular file" in user_error(serve, *arguments)


def test_a_port_in_use_is_refused_before_the_model_is_loaded(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = user_error(serve, "--model", tmp_path / "absent", "--port", port)
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in message


def test_absent_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr("medusis_tf.commands.serve.find_spec", lambda name: None)
    message = user_error(serve, "--model", tmp_path)
    assert "pip install 'medusis_tf[serve]'" in message


def test_the_header_time_is_bounded():
    assert process._Protocol.header_seconds <= 60

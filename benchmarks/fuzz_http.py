"""Send mutated HTTP requests to a server, and count how each ends.

    medusis serve --model DIR --port 8501 &
    python -m benchmarks.fuzz_http --port 8501 --model NAME [--count 10000] [--seed 0]

Valid requests of every address are changed at random places of their method, address, headers and
body. Each must be answered or its connection closed. Request n is a function of the seed and n.

Counted as failures:

- error: an answer with status 500, which is an exception that nobody expected
- hang: neither an answer nor the end of the connection within `--limit` seconds
- dead: the server does not answer the next probe
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import select
import socket
import sys
from collections import Counter

import nibabel as nib
import numpy as np

from benchmarks.fuzz_mutations import mutate_bytes

FAILURES = ("error", "hang", "dead")
_PATIENCE = 5.0
_PROBE = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the exit status is 1 if a request failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--port", type=int, required=True, help="port of the running server")
    parser.add_argument("--model", required=True, help="name of a model that it serves")
    parser.add_argument("--count", type=int, default=10_000, help="number of requests")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that one may take")
    options = parser.parse_args(arguments)
    seeds, counts = valid_requests(options.model), Counter[str]()
    for number in range(options.count):
        request = mutated(seeds, options.seed, number)
        ending = send(options.port, request, options.limit)
        counts[ending] += 1
        if ending in FAILURES:
            print(f"request {number} ({ending}): {request[:200]!r}", flush=True)
        if ending == "dead":
            break
    for ending, count in sorted(counts.items()):
        print(f"{ending:10} {count:8,}")
    return int(any(counts[failure] for failure in FAILURES))


def valid_requests(model: str) -> list[bytes]:
    """One request of every kind that the server answers.

    Args:
        model: Name of a served model.
    """
    image = nib.Nifti1Image(np.eye(8, dtype=np.uint8)[..., np.newaxis], np.eye(4))
    volume = gzip.compress(image.to_bytes(), mtime=0)
    row = {"label_map": [[0, 1, 1, 0]] * 4, "seed": [1, 2], "truncation": 2.0}
    predicted = json.dumps({"instances": [row]}).encode()
    columns = json.dumps({"inputs": {name: [value] for name, value in row.items()}}).encode()
    addresses = [
        *(
            "/",
            "/healthz",
            "/readyz",
            "/metrics",
            "/openapi.json",
            f"/phantom.nii.gz?model={model}",
        ),
        *(f"/v1/models/{model}", f"/v1/models/{model}/metadata", f"/v1/models/{model}/versions/1"),
        *("/jobs/abc", "/jobs/abc/events", "/jobs/abc/volumes/1.nii.gz"),
    ]
    return [
        *(_request("GET", address) for address in addresses),
        _request("DELETE", "/jobs/abc"),
        _request("POST", f"/v1/models/{model}:predict", predicted, "application/json"),
        _request("POST", f"/v1/models/{model}:predict", columns, "application/json"),
        _request("POST", "/synthesize?seed=3&truncation=1.5&file_name=a.nii.gz", volume),
        _request("POST", "/synthesize?seed=1&other_seed=2&blend=0.5&unlisted=fat", volume),
    ]


def _request(method: str, address: str, body: bytes = b"", kind: str = "") -> bytes:
    kind = kind or "application/octet-stream"
    head = f"{method} {address} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    if body:
        head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def mutated(seeds: list[bytes], seed: int, number: int) -> bytes:
    """Request `number` of a campaign.

    Args:
        seeds: Valid requests.
        seed: Seed of the campaign.
        number: Number of the request.
    """
    rng = random.Random(f"{seed} {number}")  # noqa: S311
    request = rng.choice(seeds)
    if rng.random() < 0.3:  # a body with a true length
        head, _, body = request.partition(b"\r\n\r\n")
        changed = mutate_bytes(body, rng, len(body)) if body else rng.randbytes(20)
        lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
        lines.append(b"Content-Length: %d" % len(changed))
        return b"\r\n".join(lines) + b"\r\n\r\n" + changed
    return mutate_bytes(request, rng, 200)


def send(port: int, request: bytes, limit: float = 60.0) -> str:
    """Send bytes to a server on this machine.

    Args:
        port: Port of the server.
        request: What is sent. Without an answer for five seconds, the connection is closed in this
            direction.
        limit: Seconds that an answer may take.

    Returns:
        The class of the status (`2xx`), `closed`, or one of `FAILURES`.
    """
    ending = _ending(port, request, limit)
    return ending if _ending(port, _PROBE, limit) == "2xx" else "dead"


def _ending(port: int, request: bytes, limit: float) -> str:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=limit) as connection:
            received = _answer(connection, request)
    except TimeoutError:
        return "hang"
    except ConnectionError:
        return "closed"
    status = received.split(b" ", 2)[1:2]
    if not received.startswith(b"HTTP/1.1 ") or not status[0].isdigit():
        return "closed"
    return "error" if status[0] == b"500" else f"{status[0].decode()[0]}xx"


def _answer(connection: socket.socket, request: bytes) -> bytes:
    """The start of the answer; what has come of it if the server closes the connection."""
    received = b""
    try:
        connection.sendall(request)
        if not select.select([connection], [], [], _PATIENCE)[0]:
            connection.shutdown(socket.SHUT_WR)  # the server waits for more
        while chunk := connection.recv(2**16):
            received = received or chunk[:64]
    except ConnectionError:
        return received
    return received


if __name__ == "__main__":
    sys.exit(main())

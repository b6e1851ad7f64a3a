"""What the HTTP server adds to the time of a model, and how it stands many requests at once.

    python -m benchmarks.serving --model saved_models/NAME

Starts `medusis serve` on a free port of this machine, sends a bounded number of requests, and stops
it. Prints the median time of the endpoint in Python and over HTTP, percentiles of parallel
requests, how many were lost, and the peak memory of the server.
"""

import argparse
import http.client
import json
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

NUM_SEQUENTIAL = 12
NUM_PARALLEL = 100
TIMEOUT_S = 300


def start_server(model: Path) -> tuple[subprocess.Popen[str], int]:
    """Start a server and return it with its port."""
    command = [sys.executable, "-m", "medusis_tf", "serve", "--model", str(model), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
    for line in server.stdout or ():
        if found := re.search(r"serving on http://127\.0\.0\.1:(\d+)", line):
            return server, int(found.group(1))
    raise SystemExit("the server did not start")


def predict(port: int, name: str, body: bytes) -> float:
    """Send one request, and return its seconds; negative if it was not answered with an image."""
    started = time.perf_counter()
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
        connection.request("POST", f"/v1/models/{name}:predict", body)
        answer = connection.getresponse()
        answer.read()
        connection.close()
    except OSError:
        return -1.0
    seconds = time.perf_counter() - started
    return seconds if answer.status == 200 else -seconds


def seconds_of(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def peak_mb(process: int) -> float:
    """Peak memory of a process in MB (Linux)."""
    text = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found.group(1)) / 1000 if found else float("nan")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--size", type=int, default=None, help="side of the slices")
    arguments = parser.parse_args()

    import tensorflow as tf

    from medusis_tf.server.phantom_label_map import phantom_label_map
    from medusis_tf.serving.predictor import Predictor

    predictor = Predictor(arguments.model)
    metadata = predictor.metadata
    if arguments.size:
        metadata = metadata.model_copy(update={"image_size": (arguments.size,) * 2})
    labels = phantom_label_map(metadata)[0][:, :, 10].T.astype(np.int32)
    instance = {"label_map": labels.tolist(), "seed": [0, 0], "truncation": 2.0}
    body = json.dumps({"instances": [instance]}).encode()
    endpoint = predictor._model.signatures["serving_default"]
    inputs = {
        "label_map": tf.constant(labels[None]),
        "seed": tf.constant([[0, 0]]),
        "truncation": tf.constant([2.0]),
    }
    endpoint(**inputs)
    server, port = start_server(arguments.model)
    try:
        predict(port, metadata.name, body)
        # Alternating, because other programs on the machine come and go.
        direct, served = [], []
        for _ in range(NUM_SEQUENTIAL):
            direct.append(seconds_of(lambda: endpoint(**inputs)["image"].numpy()))
            served.append(predict(port, metadata.name, body))
        before = peak_mb(server.pid)
        with ThreadPoolExecutor(NUM_PARALLEL) as executor:
            times = list(
                executor.map(lambda _: predict(port, metadata.name, body), range(NUM_PARALLEL))
            )
        after = peak_mb(server.pid)
    finally:
        server.send_signal(signal.SIGTERM)
        status = server.wait(60)
    one, http_one = statistics.median(direct), statistics.median(served)
    answered = sorted(seconds for seconds in times if seconds >= 0)
    print(f"{labels.shape[0]}x{labels.shape[1]} slice: endpoint in Python {one * 1000:.1f} ms, ")
    print(f"over HTTP {http_one * 1000:.1f} ms ({100 * (http_one / one - 1):+.0f} %)")
    print(f"{NUM_PARALLEL} parallel requests: {NUM_PARALLEL - len(answered)} lost", end="")
    if answered:
        p50, p99 = np.percentile(answered, [50, 99])
        print(f", p50 {p50:.2f} s, p99 {p99:.2f} s", end="")
    print(f"; peak memory {before:.0f} MB before, {after:.0f} MB after; exit status {status}")


if __name__ == "__main__":
    main()

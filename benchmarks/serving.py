"""What the HTTP server adds to the time of a model, and how it stands many requests at once.

    python -m benchmarks.serving --model saved_models/NAME [--size 256] [--volume]

Starts `medusis serve` on a free port of this machine, sends a bounded number of requests, and stops
it. Prints the median time of the endpoint in Python and over HTTP, percentiles of parallel
requests, how many were lost, and the peak memory of the server. With `--volume`, also the time of a
volume of 100 slices of 256x256 pixels over HTTP and with `medusis synthesize`.
"""

import argparse
import dataclasses
import http.client
import json
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

NUM_SEQUENTIAL = 12
NUM_PARALLEL = 100
NUM_VOLUMES = 2
VOLUME_SIDE, VOLUME_SLICES = 256, 100
TIMEOUT_S = 1800


class Server(NamedTuple):
    """A running server."""

    process: subprocess.Popen[str]
    port: int

    def post(self, path: str, body: bytes) -> float:
        """Send one request, and return its seconds; negative if it was not answered with 200."""
        started = time.perf_counter()
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_S)
            connection.request("POST", path, body)
            answer = connection.getresponse()
            answer.read()
            connection.close()
        except OSError:
            return -1.0
        seconds = time.perf_counter() - started
        return seconds if answer.status == 200 else -seconds

    def peak_mb(self) -> float:
        """Peak memory so far in MB (Linux)."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", text)
        return int(found.group(1)) / 1000 if found else float("nan")


@contextmanager
def serving(model: Path) -> Iterator[Server]:
    """Start a server, and stop it at the end."""
    command = [sys.executable, "-m", "medusis_tf", "serve", "--model", str(model), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
    try:
        for line in process.stdout or ():
            if found := re.search(r"serving on http://127\.0\.0\.1:(\d+)", line):
                yield Server(process, int(found.group(1)))
                break
        else:
            raise SystemExit("the server did not start")
    finally:
        process.send_signal(signal.SIGTERM)
        print(f"exit status of the server: {process.wait(60)}")


class Slice(NamedTuple):
    """A slice to predict, for Python and for HTTP."""

    endpoint: Callable[..., Any]
    inputs: dict[str, Any]
    path: str
    body: bytes

    def predict(self) -> np.ndarray:
        """The image, without HTTP."""
        return self.endpoint(**self.inputs)["image"].numpy()


def slice_of(predictor: Any, size: int | None) -> Slice:
    """A slice of the phantom.

    Args:
        predictor: Opened model.
        size: Rows and columns; None for those of the model.
    """
    import tensorflow as tf

    from medusis_tf.server.phantom_label_map import phantom_label_map

    metadata = predictor.metadata
    if size:
        metadata = metadata.model_copy(update={"image_size": (size, size)})
    labels = phantom_label_map(metadata)[0][:, :, 10].T.astype(np.int32)
    instance = {"label_map": labels.tolist(), "seed": [0, 0], "truncation": 2.0}
    inputs = {
        "label_map": tf.constant(labels[None]),
        "seed": tf.constant([[0, 0]]),
        "truncation": tf.constant([2.0]),
    }
    return Slice(
        predictor._model.signatures["serving_default"],
        inputs,
        f"/v1/models/{metadata.name}:predict",
        json.dumps({"instances": [instance]}).encode(),
    )


def measure_overhead(server: Server, sent: Slice) -> None:
    """Print the time of one slice in Python and over HTTP."""
    sent.predict()
    server.post(sent.path, sent.body)
    # Alternating, because other programs on the machine come and go.
    direct, served = [], []
    for _ in range(NUM_SEQUENTIAL):
        direct.append(_seconds_of(sent.predict))
        served.append(server.post(sent.path, sent.body))
    one, over_http = statistics.median(direct), statistics.median(served)
    height, width = sent.inputs["label_map"].shape[1:]
    print(f"{height}x{width} slice, medians of {NUM_SEQUENTIAL}: {one * 1000:.1f} ms in Python, ")
    print(f"{over_http * 1000:.1f} ms over HTTP ({100 * (over_http / one - 1):+.0f} %)")
    print(f"fastest: {min(direct) * 1000:.1f} ms and {min(served) * 1000:.1f} ms")


def measure_parallel(server: Server, sent: Slice) -> None:
    """Print how many of many requests at once are lost, percentiles, and the peak memory."""
    before = server.peak_mb()
    with ThreadPoolExecutor(NUM_PARALLEL) as executor:
        posts = [executor.submit(server.post, sent.path, sent.body) for _ in range(NUM_PARALLEL)]
        times = [post.result() for post in posts]
    answered = sorted(seconds for seconds in times if seconds >= 0)
    print(f"{NUM_PARALLEL} parallel requests: {NUM_PARALLEL - len(answered)} lost", end="")
    if answered:
        p50, p99 = np.percentile(answered, [50, 99])
        print(f", p50 {p50:.2f} s, p99 {p99:.2f} s", end="")
    print(f"; peak memory {before:.0f} MB before, {server.peak_mb():.0f} MB after")


def measure_volume(server: Server, model: Path, metadata: Any) -> None:
    """Print the time of a volume over HTTP and with the command, each alternating."""
    content = volume_bytes(metadata)
    with tempfile.TemporaryDirectory() as folder:
        labels, out = Path(folder) / "labels.nii.gz", Path(folder) / "mr.nii.gz"
        labels.write_bytes(content)
        command = [sys.executable, "-m", "medusis_tf", "synthesize", "--model", str(model)]
        command += ["--label-map", str(labels), "--out", str(out), "--overwrite"]
        by_command, by_server = [], []
        for _ in range(NUM_VOLUMES):
            by_server.append(server.post("/synthesize?seed=0", content))
            by_command.append(
                _seconds_of(lambda: subprocess.run(command, check=True, capture_output=True))  # noqa: S603
            )
    print(
        f"{VOLUME_SLICES} slices of {VOLUME_SIDE}x{VOLUME_SIDE}, painted as {metadata.image_size}:"
    )
    print(f"over HTTP {_shown(by_server)} s, medusis synthesize {_shown(by_command)} s")


def volume_bytes(metadata: Any) -> bytes:
    """A label map of the phantom with 100 slices of 256x256 pixels, as large as a body."""
    from medusis_tf.server.painting import nifti_bytes
    from medusis_tf.server.phantom_label_map import phantom_label_map

    height_mm, width_mm = metadata.spacing_mm or (1.0, 1.0)
    height, width = metadata.image_size
    finer = (height_mm * height / VOLUME_SIDE, width_mm * width / VOLUME_SIDE)
    size = (VOLUME_SIDE, VOLUME_SIDE)
    array, grid = phantom_label_map(
        metadata.model_copy(update={"image_size": size, "spacing_mm": finer})
    )
    array = np.repeat(array, VOLUME_SLICES // array.shape[2], axis=2)
    return nifti_bytes(array, dataclasses.replace(grid, shape=array.shape))


def _seconds_of(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _shown(seconds: list[float]) -> str:
    return ", ".join(f"{each:.1f}" for each in seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--size", type=int, default=None, help="side of the slices")
    parser.add_argument("--volume", action="store_true", help="also measure a volume")
    arguments = parser.parse_args()

    from medusis_tf.serving.predictor import Predictor

    predictor = Predictor(arguments.model)
    sent = slice_of(predictor, arguments.size)
    with serving(arguments.model) as server:
        measure_overhead(server, sent)
        measure_parallel(server, sent)
        if arguments.volume:
            measure_volume(server, arguments.model, predictor.metadata)


if __name__ == "__main__":
    main()

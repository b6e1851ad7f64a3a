"""Measurements in separate processes, to measure the peak memory of each."""

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[1]


def measure_apart(module: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Run `python -m module --measure` in a new process, and return its measurements.

    The caller should use little memory: the peak of a child is never below that of its parent.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "measurements.json"
        command = [sys.executable, "-m", module, "--measure", json.dumps(settings), str(out)]
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
        done = subprocess.run(  # noqa: S603
            command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True
        )
        if done.returncode:
            raise SystemExit(f"{settings}: exit status {done.returncode}\n{done.stderr[-4000:]}")
        return json.loads(out.read_text())


def is_measurement(measure: Callable[..., dict[str, Any]]) -> bool:
    """If `measure_apart` started this process, measure, write the result and return True."""
    if sys.argv[1:2] != ["--measure"]:
        return False
    settings, out = sys.argv[2:4]
    Path(out).write_text(json.dumps(measure(**json.loads(settings))))
    return True


def peak_gigabytes() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def machine() -> dict[str, float | int]:
    """Cores of this process, and load average of the last minute: 0 on an idle machine."""
    return {"cpu_cores": len(os.sched_getaffinity(0)), "load_before": os.getloadavg()[0]}


def print_table(columns: dict[str, dict[str, Any]]) -> None:
    """Print a table with one row per value and one column per configuration."""
    names = dict.fromkeys(name for values in columns.values() for name in values)
    first = max(map(len, names))
    widths = [max(12, len(title)) for title in columns]
    print(" ".join([" " * first, *(f"{t:>{w}}" for t, w in zip(columns, widths, strict=True))]))
    for name in names:
        cells = [
            f"{_text(values.get(name, '')):>{width}}"
            for values, width in zip(columns.values(), widths, strict=True)
        ]
        print(f"{name:{first}}", *cells)


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"


def write_json(path: Path | None, columns: dict[str, dict[str, Any]]) -> None:
    """Write the measurements by configuration, unless the path is None."""
    if path:
        path.write_text(json.dumps(columns, indent=2) + "\n")


def configurations(arguments: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Title and settings of each configuration of `--generator` and the common options."""
    for networks, precision, batch_size in itertools.product(
        arguments.generator, arguments.precision, arguments.batch_size
    ):
        settings = {
            "networks": networks,
            "size": arguments.size,
            "num_classes": arguments.classes,
            "batch_size": batch_size,
            "precision": precision,
        }
        yield f"{networks} B={batch_size} {precision}", settings


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that the benchmarks of networks share."""
    parser.add_argument("--size", type=int, default=256, help="rows and columns of a slice")
    parser.add_argument("--classes", type=int, default=31, help="number of classes with background")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[1])
    parser.add_argument("--precision", nargs="+", default=["float32"])
    parser.add_argument("--repeats", type=int, default=7, help="calls after two for warm-up")
    parser.add_argument("--labels", help="NIfTI label map; default: synthetic")
    parser.add_argument("--json", type=Path, help="file for the measurements")

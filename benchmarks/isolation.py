"""Measurements in processes of their own, so that the peak memory of each is its own."""

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
    """Run `python -m module --measure` in a new process, and return the figures it writes.

    The caller should hold little memory: the peak of a child is never less than its parent's was.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "figures.json"
        command = [sys.executable, "-m", module, "--measure", json.dumps(settings), str(out)]
        environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
        done = subprocess.run(  # noqa: S603
            command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True
        )
        if done.returncode:
            raise SystemExit(f"{settings}: exit status {done.returncode}\n{done.stderr[-4000:]}")
        return json.loads(out.read_text())


def is_measurement(measure: Callable[..., dict[str, Any]]) -> bool:
    """Whether this process was started by `measure_apart`; if so, measure and write."""
    if sys.argv[1:2] != ["--measure"]:
        return False
    settings, out = sys.argv[2:4]
    Path(out).write_text(json.dumps(measure(**json.loads(settings))))
    return True


def peak_gigabytes() -> float:
    """The greatest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def machine() -> dict[str, float | int]:
    """Cores of this process, and how many jobs wanted one in the last minute: 0 if all is quiet."""
    return {"cpu_cores": len(os.sched_getaffinity(0)), "load_before": os.getloadavg()[0]}


def print_table(columns: dict[str, dict[str, Any]]) -> None:
    """One row for each figure, one column for each configuration."""
    names = dict.fromkeys(name for figures in columns.values() for name in figures)
    first = max(map(len, names))
    widths = [max(12, len(title)) for title in columns]
    print(" ".join([" " * first, *(f"{t:>{w}}" for t, w in zip(columns, widths, strict=True))]))
    for name in names:
        cells = [
            f"{_text(figures.get(name, '')):>{width}}"
            for figures, width in zip(columns.values(), widths, strict=True)
        ]
        print(f"{name:{first}}", *cells)


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"


def write_json(path: Path | None, columns: dict[str, dict[str, Any]]) -> None:
    """The figures by configuration, if a file is asked for."""
    if path:
        path.write_text(json.dumps(columns, indent=2) + "\n")


def configurations(arguments: argparse.Namespace) -> Iterator[tuple[str, dict[str, Any]]]:
    """Title and settings of what `add_common_arguments` and `--generator` ask for."""
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
    """What the benchmarks of the networks share."""
    parser.add_argument("--size", type=int, default=256, help="rows and columns of a slice")
    parser.add_argument("--classes", type=int, default=31, help="background included")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[1])
    parser.add_argument("--precision", nargs="+", default=["float32"])
    parser.add_argument("--repeats", type=int, default=7, help="beside two that do not count")
    parser.add_argument("--labels", help="NIfTI label map; made ones without it")
    parser.add_argument("--json", type=Path, help="also write the figures here")

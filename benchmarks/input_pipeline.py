"""Slices per second that training batches are made at, beside the machine's memory speed.

    python -m benchmarks.input_pipeline [--size 128] [--batch-size 16] [--json]

Label maps and images of a phantom are prepared, then batches are drawn: reading, shuffling,
flipping and conversion to float32 included. One slice is one label map and one image. The roofline
is what plain memory copies would allow for the bytes that a batch must be written with once.
"""

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

CLASSES = ("background", "fat", "soft_tissue", "bone", "tumour")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128, help="rows and columns of a slice")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=200, help="batches of one repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.basicConfig(level=logging.WARNING)
    result = measure(arguments.size, arguments.batch_size, arguments.steps, arguments.repeats)
    if arguments.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:28} {value:,.1f}" if isinstance(value, float) else f"{name:28} {value}")


def measure(size: int, batch_size: int, steps: int, repeats: int) -> dict[str, float | int]:
    """Median slices per second over repeats, with the roofline."""
    from medusis_tf.data.dataset import training_batches
    from medusis_tf.data.shards import prepare_shards

    with tempfile.TemporaryDirectory() as folder:
        config = experiment(Path(folder), size, batch_size)
        batches = iter(training_batches(config, prepare_shards(config)))
        for _ in range(20):
            next(batches)
        rates = []
        for _ in range(repeats):
            start = time.perf_counter()
            for _ in range(steps):
                next(batches)
            rates.append(steps * batch_size / (time.perf_counter() - start))
    bytes_per_slice = size * size * (1 + 4)
    copy_rate = memory_copy_rate()
    return {
        "size": size,
        "batch_size": batch_size,
        "slices_per_second": statistics.median(rates),
        "slowest_repeat": min(rates),
        "fastest_repeat": max(rates),
        "memory_copy_gb_per_second": copy_rate / 1e9,
        "roofline_slices_per_second": copy_rate / bytes_per_slice,
        "cpu_cores": len(os.sched_getaffinity(0)),
    }


def experiment(folder: Path, size: int, batch_size: int):
    """A configuration on a phantom of 2 x 100 label maps and 2 x 100 images."""
    from medusis_tf.config.load import validate
    from medusis_tf.data.phantom import write_phantom_dataset

    subjects = write_phantom_dataset(folder / "volumes", 2, 2, shape=(64, 64, 100))
    values = {
        "name": "input_pipeline",
        "data": {
            "root": folder / "volumes",
            "cache": folder / "cache",
            "classes": [
                {"id": i, "name": name, "colour": (0, 0, 0)} for i, name in enumerate(CLASSES)
            ],
            "subjects": [entry.model_dump() for entry in subjects],
            "image_size": (size, size),
            "field_of_view_mm": (128, 128),
        },
        "generator": {"name": "oasis"},
        "training": {"batch_size": batch_size},
    }
    return validate(values, Path("benchmark"))


def memory_copy_rate(megabytes: int = 64, repeats: int = 9) -> float:
    """Median bytes per second written by one thread copying an array."""
    source = np.ones(megabytes * 2**20, np.uint8)
    target = np.empty_like(source)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - start)
    return source.nbytes / statistics.median(seconds)


if __name__ == "__main__":
    main()

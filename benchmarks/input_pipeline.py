"""Throughput of the training batches, compared with the limits of the machine.

    python -m benchmarks.input_pipeline [--size 256] [--batch-size 16] [--json FILE]

A pair is one label map (uint8) and one image (uint16 in the shards, float32 in the batch): read,
decoded, augmented and batched. The variants are measured in alternation, and the result is the
median over the turns, so that other load does not affect a single variant. Pairs per second are
wall-clock rates. Pairs per CPU second of all threads, times the number of cores, estimate the rate
on an otherwise idle machine.

The roofline is the memory-copy rate divided by the bytes that a pair must be read and written with.
The networks create one-hot label maps on the device; `one_hot_in_pipeline` measures the cost of
creating them here.

Measured on two idle cores of an Intel Xeon, 256x256, batches of 16, median pairs per second: 9,500
read, 9,100 flipped, 3,080 with all augmentations (3,210 from memory), 810 with one-hot label maps
too. The roofline was 28,700, matrix products reached 307 GFLOP/s. With three other jobs: 1,900 with
all augmentations.
"""

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.phantom_experiment import phantom_experiment
from benchmarks.roofline import roofline

AUGMENTED = {
    "flip": True,
    "rotation_degrees": 10.0,
    "scale": 0.1,
    "translation": 0.05,
    "gamma": 0.3,
    "bias_field": 0.3,
}
MOVED = {**AUGMENTED, "gamma": 0.0, "bias_field": 0.0}
STILL = {"flip": False}
WARM_UP_STEPS = 30
NUM_CLASSES = 31  # as in the thesis's class table, for one-hot label maps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="rows and columns of a slice")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=120, help="batches per turn")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", type=Path, help="file for the measurements")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.basicConfig(level=logging.WARNING)
    result = measure(arguments.size, arguments.batch_size, arguments.steps, arguments.turns)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    for name, value in result.items():
        print(f"{name:44} {value:12,.1f}" if isinstance(value, float) else f"{name:44} {value:>12}")


def measure(size: int, batch_size: int, steps: int, turns: int) -> dict[str, float | int]:
    """Median, slowest and fastest pairs per second of each variant, and the roofline."""
    result: dict[str, float | int] = {"size": size, "batch_size": batch_size}
    with tempfile.TemporaryDirectory() as folder:
        streams = variants(Path(folder), size, batch_size)
        rates: dict[str, list[tuple[float, float]]] = {name: [] for name in streams}
        for turn in range(turns + 1):
            for name, stream in streams.items():
                rate = _rates(iter(stream), steps, batch_size)
                if turn > 0:  # the first compiles
                    rates[name].append(rate)
    cores = len(os.sched_getaffinity(0))
    for name, values in rates.items():
        wall, busy = zip(*values, strict=True)
        result[f"{name}_pairs_per_second"] = statistics.median(wall)
        result[f"{name}_slowest"] = min(wall)
        result[f"{name}_fastest"] = max(wall)
        result[f"{name}_pairs_per_cpu_second_all_cores"] = cores * statistics.median(busy)
    result |= roofline()
    pixels = size * size
    result["bytes_per_pair_with_label_ids"] = pixels * (1 + 4)
    result["bytes_per_pair_with_one_hot"] = pixels * (4 * NUM_CLASSES + 4)
    touched = pixels * (1 + 2 + 1 + 4)  # ids and levels in, ids and float32 out
    copied = float(result["memory_copy_gb_per_second"]) * 1e9
    result["roofline_pairs_per_second"] = copied * 2 / touched  # a copy reads and writes
    return result


def variants(folder: Path, size: int, batch_size: int) -> dict[str, Iterable[Any]]:
    """Streams of batches by variant."""
    from medusis_tf.data.batches.dataset import training_batches
    from medusis_tf.data.phantom import write_phantom_dataset
    from medusis_tf.data.preparing.preparation import prepare_shards
    from medusis_tf.methods.experiment import validate

    subjects = write_phantom_dataset(folder / "volumes", 2, 2, shape=(64, 64, 200))

    def stream(augmentation: dict[str, Any], cache: str = "shards"):
        values = phantom_experiment(
            folder / "volumes",
            folder / "cache",
            subjects,
            size,
            batch_size,
            field_of_view_mm=[128, 128],
            cache=cache,
            augmentation=augmentation,
        )
        config = validate(values, Path("benchmark"))
        return training_batches(config, prepare_shards(config))

    def encoded():
        import tensorflow as tf

        def encode(batch):
            one_hot = tf.one_hot(batch["label_map"], NUM_CLASSES, dtype=tf.float32)
            return {**batch, "label_map": one_hot}

        return stream(AUGMENTED).map(encode, tf.data.AUTOTUNE).prefetch(2)

    return {
        "read": stream(STILL),
        "flipped": stream({"flip": True}),
        "moved": stream(MOVED),
        "augmented": stream(AUGMENTED),
        "augmented_from_memory": stream(AUGMENTED, "memory"),
        "one_hot_in_pipeline": encoded(),
    }


def _rates(batches: Iterator[Any], steps: int, batch_size: int) -> tuple[float, float]:
    """Pairs per second and per CPU second, after warm-up."""
    for _ in range(WARM_UP_STEPS):
        next(batches)
    start, busy = time.perf_counter(), time.process_time()
    for _ in range(steps):
        next(batches)
    pairs = steps * batch_size
    return pairs / (time.perf_counter() - start), pairs / (time.process_time() - busy)


if __name__ == "__main__":
    main()

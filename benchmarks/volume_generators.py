"""Time and memory of the OASIS generator on volumes, each measurement in its own process.

    python -m benchmarks.volume_generators [--sizes 32x64x64 32x96x96] [--base-channels 8 16] \
        [--spade-channels 32] [--classes 7] [--batch-size 1] [--repeats 2] [--json FILE]

`forward` synthesizes a batch; `step` synthesizes it in training and computes the gradients of all
weights. `cpu_seconds` is the time of the processor, all cores together, which other jobs change
little; `seconds` is that of the clock. `peak_gigabytes` includes TensorFlow itself. Label maps are
nested ellipsoids, weights are random.
"""

import argparse
import itertools
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.isolation import (
    is_measurement,
    machine,
    measure_apart,
    peak_gigabytes,
    print_table,
    write_json,
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["32x64x64", "32x96x96"])
    parser.add_argument("--base-channels", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--spade-channels", type=int, default=32)
    parser.add_argument("--classes", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2, help="calls after one that compiles")
    parser.add_argument("--json", type=Path, help="file for the measurements")
    arguments = parser.parse_args()
    columns: dict[str, Any] = {}
    for size, channels in itertools.product(arguments.sizes, arguments.base_channels):
        title = f"{size} C={channels}"
        columns[title] = {}
        for kind in ("forward", "step"):
            columns[title] |= measure_apart(
                "benchmarks.volume_generators",
                {
                    "kind": kind,
                    "sides": [int(side) for side in size.split("x")],
                    "base_channels": channels,
                    "spade_channels": arguments.spade_channels,
                    "num_classes": arguments.classes,
                    "batch_size": arguments.batch_size,
                    "repeats": arguments.repeats,
                },
            )
        write_json(arguments.json, columns)
    print_table(columns)


def measure(
    kind: str,
    sides: list[int],
    base_channels: int,
    spade_channels: int,
    num_classes: int,
    batch_size: int,
    repeats: int,
) -> dict[str, Any]:
    """Measure one pass of one generator.

    Args:
        kind: `forward` or `step`.
        sides: Depth, height and width.
        base_channels: Channels of the last block.
        spade_channels: Hidden channels of each SPADE layer.
        num_classes: Classes of the label map.
        batch_size: Volumes in a batch.
        repeats: Measured calls, after one that compiles.

    Returns:
        Measurements by name.
    """
    from benchmarks.generators import passes
    from medusis_tf.models.sections import OASISGeneratorConfig

    section = OASISGeneratorConfig(
        name="oasis", base_channels=base_channels, spade_channels=spade_channels
    )
    section.check_image_size(tuple(sides))
    generator = section.build(num_classes, 1, synchronized=False, rank=3)
    function = passes(generator, ellipsoids(sides, num_classes, batch_size))[kind]
    function().numpy()
    clock, processor = [], []
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        function().numpy()
        clock.append(time.perf_counter() - start[0])
        processor.append(time.process_time() - start[1])
    return {
        "million_weights": generator.count_params() / 1e6,
        f"{kind}_cpu_seconds": statistics.median(processor),
        f"{kind}_seconds": statistics.median(clock),
        f"{kind}_peak_gigabytes": peak_gigabytes(),
        **machine(),
    }


def ellipsoids(sides: list[int], num_classes: int, batch_size: int) -> Any:
    """Nested ellipsoids, one in the other: `[batch, depth, height, width]` int32."""
    import numpy as np

    axes = np.meshgrid(*(np.linspace(-1, 1, side) for side in sides), indexing="ij")
    inside = np.clip(1 - np.sqrt(sum(axis**2 for axis in axes)), 0, 1)
    classes = np.minimum(np.ceil(inside * num_classes), num_classes - 1).astype(np.int32)
    return np.repeat(classes[None], batch_size, axis=0)


if __name__ == "__main__" and not is_measurement(measure):
    main()

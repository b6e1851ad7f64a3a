"""Time of a synthetic slice: the sampler of `legs_diffusion` beside the generator of the legs.

    python -m benchmarks.diffusion [--steps 1 3 6 12] [--batch-size 4] [--repeats 5] [--json FILE]

Label maps have 128x128 pixels; weights are random. All functions alternate within one process, so
that other jobs do not affect a single one. `peak_conv_float32` is the best rate of convolutions in
the same process, in GFLOP/s.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from benchmarks.isolation import is_measurement, machine, measure_apart, print_table, write_json

GENERATOR = "generator"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 3, 6, 12])
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", help="File to write")
    arguments = parser.parse_args()
    columns = measure_apart(
        "benchmarks.diffusion",
        {
            "steps": arguments.steps,
            "batch_size": arguments.batch_size,
            "repeats": arguments.repeats,
        },
    )
    write_json(arguments.json, columns)
    print_table(columns)


def measure(steps: Sequence[int], batch_size: int, repeats: int) -> dict[str, Any]:
    """Measure the generator and the sampler with some numbers of steps.

    Args:
        steps: Numbers of sampling steps.
        batch_size: Slices painted at once.
        repeats: Measured calls of each.

    Returns:
        Measurements by name: seconds of a slice, and slices in a second.
    """
    import tensorflow as tf

    from benchmarks.roofline import CONVOLUTIONS, conv_rate
    from benchmarks.timing import compiled, spreads
    from medusis_tf.methods.experiment import load_config

    functions, weights = {}, {}
    gan = load_config("legs_ct_to_mr", ["data.root=."])
    diffusion = load_config("legs_diffusion", ["data.root=."])
    num_classes = gan.data.num_classes
    blocks = tf.random.stateless_uniform(
        [batch_size, 16, 16], [0, 1], maxval=num_classes, dtype=tf.int32
    )
    one_hot = tf.one_hot(tf.repeat(tf.repeat(blocks, 8, axis=1), 8, axis=2), num_classes)
    for config, name in ((gan, GENERATOR), (diffusion, "diffusion")):
        _, painter = config.build_painter()
        noise = tf.random.stateless_normal([batch_size, *painter.noise_shape], [0, 2])
        weights[name] = sum(int(tf.size(each.value)) for each in painter.trainable_weights) / 1e6
        if name == GENERATOR:
            functions[name] = compiled(painter, one_hot, noise)
            continue
        for count in steps:
            settings = (tf.constant(0.5), tf.constant(count), tf.constant(1.0))
            functions[f"{name}, {count} steps"] = compiled(
                painter.sample, one_hot, noise, *settings
            )
    peak = max(conv_rate(*shape, "float32", False) for shape in CONVOLUTIONS) / 1e9
    return {
        name: {
            **machine(),
            "batch_size": batch_size,
            "million_weights": weights[name.partition(",")[0]],
            "seconds_a_slice": spread.median / batch_size,
            "slices_a_second": batch_size / spread.median,
            "peak_conv_float32": peak,
        }
        for name, spread in spreads(functions, repeats).items()
    }


if __name__ == "__main__" and not is_measurement(measure):
    main()

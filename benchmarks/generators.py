"""Time and size of generators alone, in alternation within one process.

    python -m benchmarks.generators [--generator legs legs_attention legs_transformer] \
        [--size 128] [--classes 7] [--batch-size 4] [--repeats 5] [--json FILE]

`benchmarks.training_step` measures whole steps, each network in its own process, and needs a quiet
machine. Here the generators alternate, and the time is that of the processor (`cpu_seconds`, all
cores together), which other jobs change little: generators of one run can be compared. `forward`
synthesizes a batch; `step` synthesizes it in training and computes the gradients of all weights.
Names are those of `benchmarks.thesis_networks`; weights are random. `peak_conv_float32` is the best
rate of convolutions in the same process, on all cores, and suffers from other jobs. For memory, use
`benchmarks.training_step`.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.isolation import (
    add_common_arguments,
    is_measurement,
    machine,
    measure_apart,
    print_table,
    write_json,
)

LEGS = ["legs", "legs_wavelet", "legs_attention", "legs_transformer"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--generator", nargs="+", default=LEGS)
    add_common_arguments(parser)
    parser.set_defaults(size=128, classes=7, batch_size=[4], repeats=5)
    arguments = parser.parse_args()
    columns = measure_apart(
        "benchmarks.generators",
        {
            "names": arguments.generator,
            "size": arguments.size,
            "num_classes": arguments.classes,
            "batch_size": arguments.batch_size[0],
            "repeats": arguments.repeats,
        },
    )
    write_json(arguments.json, columns)
    print_table(columns)


def measure(names: list[str], repeats: int, **settings: Any) -> dict[str, Any]:
    """Measure some generators.

    Args:
        names: Names of `benchmarks.thesis_networks.experiment`.
        repeats: Measured calls of each function, after one that compiles it.
        **settings: Other arguments of `experiment`.

    Returns:
        Measurements by name.
    """
    from benchmarks.arithmetic import count, generator_layers
    from benchmarks.roofline import CONVOLUTIONS, conv_rate
    from benchmarks.thesis_networks import experiment, label_maps

    columns: dict[str, Any] = {}
    functions: dict[tuple[str, str], Callable[[], Any]] = {}
    for name in names:
        config = experiment(name, **settings)
        maps = label_maps(
            settings["size"], settings["num_classes"], settings["batch_size"], file=None
        )
        generator = config.generator.build(settings["num_classes"], 1, synchronized=False)
        layers = generator_layers(generator, maps)
        weights = sum(
            int(weight.value.shape.num_elements()) for weight in generator.trainable_weights
        )
        columns[name] = {
            **settings,
            **machine(),
            "million_weights": weights / 1e6,
            "forward_gflop_needed": 2e-9 * len(maps) * count(layers),
            "step_gflop_needed": 2e-9 * len(maps) * count(layers, by_input=1, by_weights=1),
        }
        for kind, function in passes(generator, maps).items():
            functions[name, kind] = function
    for (name, kind), spent in alternate(functions, repeats).items():
        columns[name][f"{kind}_cpu_seconds"] = statistics.median(spent)
    peak = max(conv_rate(*shape, "float32", False) for shape in CONVOLUTIONS) / 1e9
    return {name: {**column, "peak_conv_float32": peak} for name, column in columns.items()}


def passes(generator: Any, maps: Any) -> dict[str, Callable[[], Any]]:
    """The compiled `forward` and `step` of a generator."""
    import tensorflow as tf

    one_hot = tf.one_hot(maps, generator.num_classes)
    noise = tf.random.stateless_normal([len(maps), *generator.noise_shape], [0, 1])

    def step() -> Any:
        with tf.GradientTape() as tape:
            total = tf.reduce_mean(tf.square(generator(one_hot, noise, training=True)))
        gradients = tape.gradient(total, generator.trainable_variables)
        return tf.add_n([tf.reduce_sum(gradient) for gradient in gradients])

    def forward() -> Any:
        return tf.reduce_sum(generator(one_hot, noise, training=False))

    return {kind.__name__: tf.function(kind, autograph=False) for kind in (forward, step)}


def alternate(functions: dict[Any, Callable[[], Any]], repeats: int) -> dict[Any, list[float]]:
    """Processor seconds of each call of each function, called in turn after a first call."""
    spent: dict[Any, list[float]] = {key: [] for key in functions}
    for _ in range(repeats + 1):
        for key, function in functions.items():
            start = time.process_time()
            function().numpy()
            spent[key].append(time.process_time() - start)
    return {key: values[1:] for key, values in spent.items()}


if __name__ == "__main__" and not is_measurement(measure):
    main()

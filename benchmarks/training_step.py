"""Time of a training step by part, compared with the limits of the machine.

    python -m benchmarks.training_step [--generator wavelet oasis] [--batch-size 1 2] \
        [--precision float32 mixed_bfloat16] [--labels FILE.nii.gz] [--json FILE]

Thesis-size networks run on fixed label maps and white noise as images; `--generator thigh` uses the
networks and losses of `configs/thigh_ct_to_mr.yaml`, and `legs` those of the legs experiment;
`benchmarks.thesis_networks` lists all names. Each configuration is measured in a separate
process. Steps with and without the R1 penalty alternate; `step_mean` includes R1 every `interval`
steps. `gflop_needed` is counted from the layers (`benchmarks.arithmetic`), `gflop_done` from the
executed operations (`benchmarks.executed`). The peaks are measured after the steps in the same
process. `needed_share` is `gflop_needed / (seconds * peak)`, with the convolution peak of float32
or, for mixed precision, of bfloat16.

The parts are compiled separately; `part_r1` is the difference of the two steps. The step may take
less or more time than the sum of its parts.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

from benchmarks import published
from benchmarks.isolation import (
    add_common_arguments,
    configurations,
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
    parser.add_argument(
        "--generator",
        nargs="+",
        default=["wavelet"],
        help="or oasis, thigh, legs, ...",
    )
    parser.add_argument("--preset", default="default", help="or thesis, the published schedule")
    parser.add_argument("--no-parts", action="store_true", help="steps only")
    add_common_arguments(parser)
    arguments = parser.parse_args()
    columns = {}
    for title, settings in configurations(arguments):
        extra = {"repeats": arguments.repeats, "labels": arguments.labels}
        extra |= {"preset": arguments.preset, "with_parts": not arguments.no_parts}
        columns[title] = measure_apart("benchmarks.training_step", settings | extra)
        write_json(arguments.json, columns)
    print_table(columns)


def measure(
    repeats: int, labels: str | None = None, with_parts: bool = True, **settings: Any
) -> dict[str, Any]:
    """Run all measurements of one configuration.

    Args:
        repeats: Number of measured calls of every function.
        labels: NIfTI label map, or None for synthetic ones.
        with_parts: Whether to also measure the parts.
        **settings: Arguments of `benchmarks.thesis_networks.experiment`.
    """
    import tensorflow as tf

    from benchmarks.executed import executed
    from benchmarks.roofline import network_roofline
    from benchmarks.step_parts import step_parts
    from benchmarks.thesis_networks import batch
    from benchmarks.timing import compiled, spreads
    from medusis_tf.methods.distribution import share_batch
    from medusis_tf.training.graph_optimizers import limit_graph_optimizers

    limit_graph_optimizers()
    before = machine()
    model, maps, built = build(labels, **settings)
    values = batch(maps)
    shared = share_batch(tf.distribute.get_strategy(), values)
    steps = step_functions(model)
    times = spreads({name: compiled(step, shared) for name, step in steps.items()}, repeats)
    result = {**settings, **before, **built, **step_times(times, model.config)}
    result["peak_gigabytes"] = peak_gigabytes()
    peaks = network_roofline()
    runs = {name: executed(step, shared) for name, step in steps.items()}
    result |= rates(result, model, maps, runs, peaks)
    if settings["networks"] == "wavelet" and settings["size"] == 256:
        seconds, step_seconds = result["seconds_per_image"], published.WAVELET_STEP_SECONDS
        result |= published.compare(step_seconds, seconds, peaks["conv_float32"])
        result["published_gigabytes"] = published.WAVELET_STEP_GIGABYTES
    if with_parts:
        result |= part_times(spreads(step_parts(model, values), repeats), result, model, maps)
    return result


def build(labels: str | None, **settings: Any) -> tuple[Any, Any, dict[str, float]]:
    """Build the model and its label maps; also return time and memory of the build."""
    from benchmarks.label_maps import boundary_share
    from benchmarks.thesis_networks import AIR_THRESHOLD, experiment, label_maps
    from medusis_tf.methods.med_usis.med_usis import MedUSIS

    config = experiment(**settings)
    size, classes = config.data.image_size[0], config.data.num_classes
    maps = label_maps(size, classes, config.training.batch_size, labels)
    start = time.perf_counter()
    model = MedUSIS(config, air_threshold=AIR_THRESHOLD)
    measured = {
        "boundary_pixels_percent": 100 * boundary_share(maps),
        "build_seconds": time.perf_counter() - start,
        "built_gigabytes": peak_gigabytes(),
    }
    return model, maps, measured


def step_functions(model: Any) -> dict[str, Callable[[Any], Any]]:
    """Steps with and without R1 on a shared batch, as compiled by the training loop."""
    from medusis_tf.methods.med_usis.med_usis import StepKind

    def step(batch, regularize):
        losses = model.train_step(batch, kind=StepKind(regularize))
        model.update_averages()
        return losses

    return {
        "step_with_r1": lambda batch: step(batch, True),
        "step_without_r1": lambda batch: step(batch, False),
    }


def step_times(times: dict[str, Any], config: Any) -> dict[str, float]:
    """Seconds of both steps and of their mean."""
    interval = config.training.r1.interval
    with_r1, without = times["step_with_r1"], times["step_without_r1"]
    mean = (with_r1.median + (interval - 1) * without.median) / interval
    batch_size = config.training.batch_size
    return {
        **with_r1.by_name("step_with_r1"),
        **without.by_name("step_without_r1"),
        "step_mean": mean,
        "step_mean_least": (with_r1.least + (interval - 1) * without.least) / interval,
        "seconds_per_image": mean / batch_size,
        "images_per_second": batch_size / mean,
    }


def rates(
    result: dict[str, Any], model: Any, maps: Any, runs: dict[str, Any], peaks: dict[str, float]
) -> dict[str, float]:
    """Operations of the mean step, counted and executed, and the peaks of the machine."""
    from benchmarks.step_arithmetic import mean_step, step_counts

    training = model.config.training
    interval, images = training.r1.interval, training.batch_size
    giga = 2e-9  # a multiply-add is two operations
    needed, plain = (
        giga * images * mean_step(step_counts(model, maps, price), interval)
        for price in ("needed", "plain")
    )
    with_r1, without = (runs[name] for name in ("step_with_r1", "step_without_r1"))
    done = giga * (with_r1.total + (interval - 1) * without.total) / interval
    seconds = result["step_mean"]
    return {
        "gflop_needed": needed,
        "gflop_done": done,
        "gflop_done_products_share": without.products / without.total,
        "operations_of_unknown_size": with_r1.unknown,
        "gflop_plain_formulas": plain,
        "gflop_per_second_needed": needed / seconds,
        "gflop_per_second_done": done / seconds,
        **{f"peak_{name}": rate for name, rate in peaks.items()},
        **shares(needed, done, seconds, training.precision, peaks),
    }


def shares(
    needed: float, done: float, seconds: float, precision: str, peaks: dict[str, float]
) -> dict[str, float]:
    """Needed and executed operations as shares of the machine's peaks in that time."""
    kind = "bfloat16" if precision == "mixed_bfloat16" else "float32"
    found = {}
    for peak in ("conv", "tf_matmul"):
        possible = seconds * peaks[f"{peak}_{kind}"]
        found[f"needed_share_of_{peak}_peak"] = needed / possible
        found[f"done_share_of_{peak}_peak"] = done / possible
    return found


def part_times(
    times: dict[str, Any], result: dict[str, Any], model: Any, maps: Any
) -> dict[str, float]:
    """Seconds and needed operations of each part; R1 is the difference of the steps."""
    from benchmarks.step_arithmetic import step_counts

    counts, images = step_counts(model, maps), model.config.training.batch_size
    seconds = {name: spread.median for name, spread in times.items()}
    seconds["r1"] = result["step_with_r1_median"] - result["step_without_r1_median"]
    found = {f"part_{name}_seconds": value for name, value in seconds.items()}
    for name, macs in counts.items():
        found[f"part_{name}_gflop_needed"] = 2e-9 * macs * images
    parts = ("generator", "segmenter", "discriminator_real", "discriminator_synthetic")
    parts += ("optimizers", "ema")
    found["parts_sum_without_r1"] = sum(seconds[name] for name in parts)
    return found


if __name__ == "__main__" and not is_measurement(measure):
    main()

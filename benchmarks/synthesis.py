"""Time of synthesizing slices and volumes, compared with the limits of the machine.

    python -m benchmarks.synthesis [--generator wavelet oasis] [--batch-size 1 8] \
        [--precision float32 mixed_bfloat16] [--labels FILE.nii.gz] [--json FILE]
    python -m benchmarks.synthesis --volume [--generator wavelet] [--slices 200] [--side 512]

Slices are synthesized by the endpoint of exported models, `from_noise` of
`medusis_tf.serving.signatures`, with new noise in every run and random weights. `gflop_needed` and
`gflop_done` are counted as in `benchmarks.training_step`.

`--volume` exports a randomly initialised generator, and synthesizes a NIfTI volume for a label map
of 512x512x200 voxels in a separate process. Volumes of 512x512 are synthesized in slices of 256x256
with pixels of twice the size, and resampled. `seconds` is the total time from reading the label map
to writing the files; `seconds_per_slice` covers the synthesis, from the first progress report to
the last.
"""

import argparse
import itertools
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
    parser.add_argument("--generator", nargs="+", default=["wavelet", "oasis"])
    parser.add_argument("--volume", action="store_true", help="a volume instead of slices")
    parser.add_argument("--slices", type=int, default=200, help="slices of the volume")
    parser.add_argument("--side", type=int, default=512, help="rows and columns of the volume")
    add_common_arguments(parser)
    parser.set_defaults(batch_size=[1, 8])
    arguments = parser.parse_args()
    columns = {}
    for title, settings in configurations(arguments):
        if arguments.volume:
            from benchmarks.volume_synthesis import measure_volume

            columns[title] = measure_volume(settings, arguments.slices, arguments.side)
        else:
            extra = {"repeats": arguments.repeats, "labels": arguments.labels}
            columns[title] = measure_apart("benchmarks.synthesis", settings | extra)
        write_json(arguments.json, columns)
    print_table(columns)


def measure(repeats: int, labels: str | None = None, **settings: Any) -> dict[str, Any]:
    """Run all measurements of one configuration.

    Args:
        repeats: Number of measured calls.
        labels: NIfTI label map, or None for synthetic ones.
        **settings: Arguments of `benchmarks.thesis_networks.experiment`.
    """
    import tensorflow as tf

    from benchmarks.executed import executed
    from benchmarks.label_maps import boundary_share
    from benchmarks.roofline import network_roofline
    from benchmarks.thesis_networks import experiment, label_maps
    from benchmarks.timing import spreads

    before = machine()
    config = experiment(**settings)
    batch_size = config.training.batch_size
    maps = label_maps(config.data.image_size[0], config.data.num_classes, batch_size, labels)
    generator, from_noise = endpoint(config)
    label_map = tf.constant(maps, tf.int32)
    noise_shape = (batch_size, *generator.noise_shape)
    noises = (tf.random.stateless_normal(noise_shape, [0, seed]) for seed in itertools.count())
    times = spreads({"call": lambda: from_noise(label_map, next(noises))}, repeats)["call"]
    result: dict[str, Any] = {
        **settings,
        **before,
        "boundary_pixels_percent": 100 * boundary_share(maps),
        **times.by_name("call"),
        "seconds_per_slice": times.median / batch_size,
        "slices_per_second": batch_size / times.median,
        "peak_gigabytes": peak_gigabytes(),
    }
    peaks = network_roofline()
    run = executed(from_noise.python_function, label_map, next(noises))
    result |= rates(times.median, run, generator, maps, settings["precision"], peaks)
    if config.data.image_size == (256, 256):
        result |= compare(settings["networks"], result["seconds_per_slice"], peaks)
    return result


def endpoint(config: Any) -> tuple[Any, Any]:
    """A randomly initialised generator and the endpoint of its export."""
    from medusis_tf.layers.spectral_conv import fold_spectral_norms
    from medusis_tf.methods.med_usis.networks import build_generator
    from medusis_tf.serving.signatures import Endpoints

    generator = build_generator(config, synchronized=False)
    fold_spectral_norms(generator)  # as in the export
    endpoints = Endpoints(
        generator, config.data.num_classes, generator.noise_shape, generator.stride
    )
    return generator, endpoints.from_noise


def rates(
    seconds: float, run: Any, generator: Any, maps: Any, precision: str, peaks: dict[str, float]
) -> dict[str, float]:
    """Operations of one call, counted and executed, and the peaks of the machine."""
    from benchmarks.arithmetic import count, generator_layers
    from benchmarks.training_step import shares

    layers = generator_layers(generator, maps)
    needed, plain = (2e-9 * len(maps) * count(layers, price) for price in ("needed", "plain"))
    done = 2e-9 * run.total
    return {
        "gflop_needed": needed,
        "gflop_done": done,
        "operations_of_unknown_size": run.unknown,
        "gflop_plain_formulas": plain,
        "gflop_per_second_needed": needed / seconds,
        "gflop_per_second_done": done / seconds,
        **{f"peak_{name}": rate for name, rate in peaks.items()},
        **shares(needed, done, seconds, precision, peaks),
    }


def compare(networks: str, seconds: float, peaks: dict[str, float]) -> dict[str, float]:
    """Comparison with the published code; its OASIS time is the shorter of a range."""
    on_record = {
        "wavelet": published.WAVELET_SLICE_SECONDS,
        "oasis": published.OASIS_SLICE_SECONDS[0],
    }
    if networks not in on_record:
        return {}
    return published.compare(on_record[networks], seconds, peaks["conv_float32"])


if __name__ == "__main__" and not is_measurement(measure):
    main()

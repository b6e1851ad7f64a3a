"""Training steps and slices in every form that a device may prefer; for owners of a GPU.

    python -m benchmarks.devices --json devices.json [--networks legs wavelet oasis] [--smallest]

No GPU has been measured yet. This command measures on whatever TensorFlow finds, GPU or CPU: each
of the networks in float32, bfloat16 and float16, with sparse and dense SPADE, and dense under XLA.
Send the JSON file to the developers: it decides what `generator.spade: auto` and the advice on
precision should be on such a device. Each measurement has its own process. One that fails, for
example since XLA lacks tools, is recorded as such, and the others go on.

`peak_device_gigabytes` is what TensorFlow allocated on the GPU, `peak_gigabytes` the memory of the
process. `conv_*` is the peak of 3x3 convolutions of one image, in GFLOP/s.
"""

import argparse
import itertools
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

# Networks: pixels of a side, classes and batch sizes.
NETWORKS: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "legs": (128, 9, (4,)),
    "wavelet": (256, 31, (1, 8)),
    "oasis": (256, 31, (1, 8)),
}
SMALLEST: dict[str, tuple[int, int, tuple[int, ...]]] = {"tiny_oasis": (32, 5, (2,))}
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
# How SPADE computes gamma and beta, and whether XLA compiles the step.
FORMS: dict[str, dict[str, Any]] = {
    "sparse": {"generator": {"spade": "sparse"}},
    "dense": {"generator": {"spade": "dense"}},
    "dense XLA": {"generator": {"spade": "dense"}, "training": {"jit": True}},
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option, choices in {
        "--networks": NETWORKS,
        "--precision": PRECISIONS,
        "--form": FORMS,
    }.items():
        parser.add_argument(
            option, nargs="+", choices=list(choices), default=list(choices), help="default: all"
        )
    parser.add_argument("--repeats", type=int, default=7, help="calls after two for warm-up")
    parser.add_argument("--smallest", action="store_true", help="tiny networks, to try the command")
    parser.add_argument("--json", type=Path, help="file for the measurements")
    arguments = parser.parse_args()
    sizes = SMALLEST if arguments.smallest else {n: NETWORKS[n] for n in arguments.networks}
    columns: dict[str, Any] = {"device": measure_apart("benchmarks.devices", {"task": "device"})}
    for networks, (size, classes, batch_sizes) in sizes.items():
        for batch, precision, form in itertools.product(
            batch_sizes, arguments.precision, arguments.form
        ):
            settings = {
                "task": "networks",
                "networks": networks,
                "size": size,
                "num_classes": classes,
                "batch_size": batch,
                "precision": precision,
            }
            title = f"{networks} B={batch} {precision} {form}"
            print(title, flush=True)
            columns[title] = _measured({**settings, "form": form, "repeats": arguments.repeats})
            write_json(arguments.json, columns)
    for title, values in columns.items():
        print_table({title: values})


def _measured(settings: dict[str, Any]) -> dict[str, Any]:
    """Measurements of a process of its own, or the last line of what it said when it failed."""
    try:
        return measure_apart("benchmarks.devices", settings)
    except SystemExit as failure:
        return {"failed": str(failure).strip().splitlines()[-1]}


def measure(task: str, **settings: Any) -> dict[str, Any]:
    """Describe the device, or measure networks.

    Args:
        task: `device` or `networks`.
        **settings: Arguments of `measure_networks`.
    """
    return describe_device() if task == "device" else measure_networks(**settings)


def describe_device() -> dict[str, Any]:
    """Versions, devices, and peaks of matrix products and convolutions in GFLOP/s."""
    import keras
    import tensorflow as tf

    from benchmarks.roofline import network_roofline

    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(each) for each in gpus]
    return {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "gpus": [str(each.get("device_name", "unknown")) for each in details],
        "compute_capability": [str(each.get("compute_capability")) for each in details],
        **machine(),
        **network_roofline(),
    }


def measure_networks(form: str, repeats: int, **settings: Any) -> dict[str, Any]:
    """Time of a training step and of synthetic slices, and their memory.

    Args:
        form: One of `FORMS`.
        repeats: Measured calls.
        **settings: Arguments of `benchmarks.thesis_networks.experiment`.
    """
    import tensorflow as tf

    from benchmarks.thesis_networks import AIR_THRESHOLD, batch, experiment, label_maps
    from benchmarks.timing import compiled, spreads
    from medusis_tf.config.yaml_files import merge
    from medusis_tf.methods.experiment import validate
    from medusis_tf.methods.med_usis.med_usis import MedUSIS

    values = merge(experiment(**settings).model_dump(mode="json"), FORMS[form])
    config = validate(values, Path("benchmark"))
    maps = label_maps(settings["size"], settings["num_classes"], settings["batch_size"], None)
    method, values = MedUSIS(config, air_threshold=AIR_THRESHOLD), batch(maps)
    if config.training.jit:
        method.check_jit()
    without_r1 = 2  # the number of the step
    one_hot = tf.one_hot(maps, settings["num_classes"])
    noise = tf.random.stateless_normal([len(maps), *method.painter.noise_shape], [0, 1])
    times = spreads(
        {
            "step": lambda: method.take_step(values, without_r1),
            "slices": compiled(method.painter, one_hot, noise),
        },
        repeats,
    )
    result = {
        **times["step"].by_name("step"),
        **times["slices"].by_name("slices"),
        "trained_slices_per_second": len(maps) / times["step"].median,
        "painted_slices_per_second": len(maps) / times["slices"].median,
        "peak_gigabytes": peak_gigabytes(),
    }
    if tf.config.list_logical_devices("GPU"):
        memory = tf.config.experimental.get_memory_info("GPU:0")
        result["peak_device_gigabytes"] = memory["peak"] / 1e9
    return result


if __name__ == "__main__" and not is_measurement(measure):
    main()

"""Time and memory of training and synthesis, for each method and each kind of network.

    python -m benchmarks.methods [--case slices 2.5d 3d ...] [--size legs thesis] [--repeats 5] \
        [--json FILE]

Every case is trained and painted on phantoms with the whole code of a run: prepared slices, all
losses of a late step, moving averages. `legs` has the networks, losses and batches of the packaged
legs experiments, `thesis` the default networks at 256x256 with one slice in a batch. Each
measurement has its own process. `peak_gigabytes` includes TensorFlow and the prepared slices. The
3D case of thesis size has the networks of the legs, in volumes of 16 slices: default networks do
not fit into 24 GB. `peak_conv_float32` is the best rate of convolutions in the same process, in
GFLOP/s.
"""

import argparse
import itertools
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.isolation import (
    REPOSITORY,
    is_measurement,
    machine,
    measure_apart,
    peak_gigabytes,
    print_table,
    write_json,
)

_GUIDES = {"segmenter": {"name": "unet", "base_channels": 16, "num_levels": 4}}
# Case: packaged experiment of the legs, and what differs from it.
LEGS: dict[str, tuple[str, dict[str, Any]]] = {
    "slices": ("legs_ct_to_mr", {}),
    "attention": ("legs_ct_to_mr", {"generator": {"attention": [8, 4]}}),
    "transformer": ("legs_transformer", {}),
    "2.5d": ("legs_25d", {}),
    "3d": ("legs_3d", {}),
    "diffusion": ("legs_diffusion", {}),
    "diffusion_guided": ("legs_diffusion", {"guides": _GUIDES}),
}
_DENOISER = {"base_channels": 64, "num_levels": 4}
THESIS: dict[str, dict[str, Any]] = {
    "slices": {"generator": {"name": "oasis"}},
    "attention": {"generator": {"name": "oasis", "attention": [16, 8]}},
    "transformer": {"generator": {"name": "transformer"}},
    "2.5d": {"generator": {"name": "oasis"}, "volumes": {"networks": "2.5d", "depth": 3}},
    "diffusion": {"method": "diffusion", "denoiser": _DENOISER},
    "diffusion_guided": {"method": "diffusion", "denoiser": _DENOISER, "guides": _GUIDES},
}
_SIDES = {"legs": 128, "thesis": 256}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="+", choices=list(LEGS), default=list(LEGS))
    parser.add_argument("--size", nargs="+", choices=list(_SIDES), default=list(_SIDES))
    parser.add_argument("--repeats", type=int, default=5, help="calls after two for warm-up")
    parser.add_argument("--json", type=Path, help="file for the measurements")
    arguments = parser.parse_args()
    columns: dict[str, Any] = {}
    for size, case in itertools.product(arguments.size, arguments.case):
        settings = {"case": case, "size": size, "repeats": arguments.repeats}
        columns[f"{case} {size}"] = {
            **measure_apart("benchmarks.methods", {"task": "train", **settings}),
            **measure_apart("benchmarks.methods", {"task": "paint", **settings}),
        }
        write_json(arguments.json, columns)
    print_table(columns)


def measure(task: str, case: str, size: str, repeats: int) -> dict[str, Any]:
    """Train or paint with one case.

    Args:
        task: `train` or `paint`.
        case: Name of the case.
        size: `legs` or `thesis`.
        repeats: Measured calls.

    Returns:
        Measurements by name.
    """
    from benchmarks.roofline import CONVOLUTIONS, conv_rate
    from medusis_tf.methods.experiment import validate

    before = machine()
    with tempfile.TemporaryDirectory() as folder:
        config = validate(experiment(case, size, Path(folder)), Path("benchmark"))
        found = {"train": train, "paint": paint}[task](config, repeats)
    found[f"{task}_peak_gigabytes"] = peak_gigabytes()
    peak = max(conv_rate(*shape, "float32", False) for shape in CONVOLUTIONS) / 1e9
    return {
        f"{task}_load_before": before["load_before"],
        **found,
        f"{task}_peak_conv_float32": peak,
    }


def experiment(case: str, size: str, folder: Path) -> dict[str, Any]:
    """Values of the configuration of a case, with phantoms as its data.

    Args:
        case: Name of the case.
        size: `legs` or `thesis`.
        folder: Empty folder for the phantoms.
    """
    from benchmarks.phantom_experiment import phantom_experiment
    from medusis_tf.config.yaml_files import merge
    from medusis_tf.data.phantom import write_phantom_dataset

    side = _SIDES[size]
    if case == "3d":
        depth, side = (32, 96) if size == "legs" else (16, 256)
    else:
        depth = 12
    subjects = write_phantom_dataset(folder / "volumes", 1, 1, shape=(side, side, depth))
    values = phantom_experiment(folder / "volumes", folder / "cache", subjects, side)
    if size == "legs" or case == "3d":
        values = merge({"data": values["data"], "name": "benchmark"}, _of_legs(case))
    else:
        values = merge({"data": values["data"], "name": "benchmark"}, THESIS[case])
        values = merge({"training": {"batch_size": 1}}, values)
    if case == "3d" and size == "thesis":
        values["volumes"]["depth"] = depth
    training: dict[str, Any] = {"validation": {"interval": 0}}
    if values.get("method") != "diffusion":
        training |= {"pseudo_labels": {"start": 0, "ramp": 1}, "r1": {"interval": 16}}
    return merge(values, {"appearance": {"contrast": "t1"}, "training": training})


def _of_legs(case: str) -> dict[str, Any]:
    import yaml

    from medusis_tf.config.yaml_files import merge

    name, changes = LEGS[case]
    values = yaml.safe_load((REPOSITORY / "configs" / f"{name}.yaml").read_text())
    networks = {key: each for key, each in values.items() if key not in ("data", "name")}
    return merge(networks, changes)


def train(config: Any, repeats: int) -> dict[str, Any]:
    """Time of a training step."""
    from benchmarks.timing import spreads
    from medusis_tf.data.batches.dataset import training_batches
    from medusis_tf.data.preparing.preparation import prepare_shards

    shards = prepare_shards(config)
    method = config.build_method(shards)
    batches = training_batches(
        config,
        shards,
        body_mask=method.needs_body_mask,
        field_of_view=method.needs_field_of_view,
        pseudo_labels=method.pseudo_labels,
    )
    batch = next(iter(batches))
    # One step with pseudo-labels and one without; none with the penalty of R1.
    late = 10**6 + 2
    times = spreads(
        {kind: lambda kind=kind: method.take_step(batch, late + kind) for kind in (0, 1)}, repeats
    )
    seconds = (times[0].median + times[1].median) / 2
    slices = config.training.batch_size * config.sample_slices[0]
    weights = sum(int(each.value.shape.num_elements()) for each in method.painter.trainable_weights)
    return {
        "painter_million_weights": weights / 1e6,
        "slices_in_a_step": slices,
        "step_seconds": seconds,
        "step_seconds_least": (times[0].least + times[1].least) / 2,
        "trained_slices_a_second": slices / seconds,
    }


def paint(config: Any, repeats: int) -> dict[str, Any]:
    """Time of a synthetic slice: four at once, or with neighbours as many as a sample has."""
    import tensorflow as tf

    from benchmarks.timing import compiled, spreads
    from medusis_tf.data.preparing.preparation import prepare_shards

    shards = prepare_shards(config)
    record = shards.subjects("train", "label_map")[0]
    depth, margin = config.sample_slices
    label_map = shards.read(record).label_map[: max(depth + 2 * margin, 4)]
    one_hot = tf.one_hot(label_map, config.data.num_classes)
    if config.volumes is not None:
        one_hot = one_hot[tf.newaxis]
    _, painter = config.build_painter()
    noise = tf.random.stateless_normal([one_hot.shape[0], *painter.noise_shape], [0, 1])
    call = spreads({"paint": compiled(painter, one_hot, noise)}, repeats)["paint"]
    return {
        "slices_at_once": len(label_map),
        "paint_seconds": call.median,
        "paint_seconds_least": call.least,
        "painted_slices_a_second": len(label_map) / call.median,
    }


if __name__ == "__main__" and not is_measurement(measure):
    main()

"""Cost of the mask loss, by part and as a share of a training step.

    python -m benchmarks.mask_loss [--size 256] [--batch-size 4] [--precision float32] [--json FILE]

The parts run on images of a body with noise, specks and dark holes. The step uses networks with the
widths of the thigh experiment, without the R1 penalty: the cheapest of four steps. It alternates
with the same step without the mask loss. Other load affects the difference of the two steps, so the
share is also computed from the loss and its gradient alone. Milliseconds are medians. CPU time
counts all threads of this process and depends least on other jobs.

The roofline is the memory-copy time of the loss and its gradient as a single pass over the pixels:
read the image, the label map and the body mask, write the gradient.

Measured on two cores with several other jobs (matrix products at 31 GFLOP/s, 307 when idle),
256x256, batches of 4, mixed_bfloat16, milliseconds of CPU time: opening with gradient 7, large
components 18, holes 16, whole loss 49, with gradient 56; a step 5,500. This is 1.0 % of the step in
CPU time and 1.5 % in wall-clock time. Three turns of the two steps were too few: the step with the
mask loss took 2.4 % more CPU time, but 16 % less wall-clock time.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.roofline import roofline

CLASSES = ("background", "fat", "soft_tissue", "bone", "tumour")
PROMISED_PERCENT = 3.0
Milliseconds = tuple[float, float]  # wall-clock time and CPU time


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="rows and columns of a slice")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--precision", default="mixed_bfloat16", help="precision of the networks")
    parser.add_argument("--repeats", type=int, default=25, help="measurements of each part")
    parser.add_argument("--turns", type=int, default=7, help="steps with and without mask loss")
    parser.add_argument("--json", type=Path, help="file for the measurements")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    batch = body_batch(arguments.size, arguments.batch_size)
    functions = parts(experiment(arguments.size, arguments.batch_size, "float32", 1.0), batch)
    times = {name: _medians({name: f}, arguments.repeats)[name] for name, f in functions.items()}
    times |= _medians(steps(arguments.precision, batch), arguments.turns)
    result = report(times, arguments.size, arguments.batch_size) | roofline()
    pixels = arguments.batch_size * arguments.size**2
    copied = float(result["memory_copy_gb_per_second"]) * 1e9
    result["roofline_ms"] = 1e3 * pixels * (4 + 1 + 1 + 4) / (2 * copied)  # copies read and write
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")
    for name, value in result.items():
        print(f"{name:44} {value:12,.2f}" if isinstance(value, float) else f"{name:44} {value:>12}")


def report(
    times: dict[str, Milliseconds], size: int, batch_size: int
) -> dict[str, float | int | str]:
    """Measurements by name; shares in percent of the step without the mask loss."""
    result: dict[str, float | int | str] = {"size": size, "batch_size": batch_size}
    for name, (wall, busy) in times.items():
        result[f"{name}_ms"], result[f"{name}_cpu_ms"] = wall, busy
    without, with_mask = times["step_without"], times["step_with"]
    loss = times["mask_loss_and_gradient"]
    for kind, suffix in ((0, ""), (1, "_cpu")):
        share = 100 * (with_mask[kind] / without[kind] - 1)
        result[f"steps_differ_percent{suffix}"] = share
        result[f"mask_loss_percent_of_step{suffix}"] = 100 * loss[kind] / without[kind]
    kept = loss[1] < PROMISED_PERCENT / 100 * without[1]
    result[f"below_{PROMISED_PERCENT:.0f}_percent"] = "yes" if kept else "no"
    return result


def parts(config: Any, batch: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Parts of the mask loss, each compiled as in the training step."""
    import tensorflow as tf

    from medusis_tf.losses.mask import MaskLoss
    from medusis_tf.ops.mask_components import fill_holes, keep_large_components
    from medusis_tf.ops.morphology import open_mask

    loss = MaskLoss(config.mask_loss, CLASSES)
    soft = tf.sigmoid(10 * (batch["image"][..., 0] + 0.5))
    hard = soft > 0.5

    def mask_loss(image):
        return loss(image, batch["body_mask"], batch["label_map"])

    def forward(function, argument):
        compiled = tf.function(function, autograph=False)
        return lambda: compiled(argument)

    def with_gradient(function, argument):
        def both(value):
            with tf.GradientTape() as tape:
                tape.watch(value)
                result = function(value)
            return result, tape.gradient(result, value)

        return forward(both, argument)

    return {
        "opening": forward(open_mask, soft),
        "opening_and_gradient": with_gradient(open_mask, soft),
        "keep_large_components": forward(keep_large_components, hard),
        "fill_holes": forward(fill_holes, hard),
        "mask_loss": forward(mask_loss, batch["image"]),
        "mask_loss_and_gradient": with_gradient(mask_loss, batch["image"]),
    }


def steps(precision: str, batch: dict[str, Any]) -> dict[str, Callable[[], Any]]:
    """Training steps without and with the mask loss, each with its own networks."""
    import tensorflow as tf

    from medusis_tf.methods.distribution import share_batch
    from medusis_tf.methods.med_usis.med_usis import MedUSIS, StepKind

    size, batch_size = batch["image"].shape[1], batch["image"].shape[0]
    shared = share_batch(tf.distribute.get_strategy(), batch)
    functions = {}
    for name, weight in (("step_without", 0.0), ("step_with", 10.0)):
        model = MedUSIS(experiment(size, batch_size, precision, weight))

        def step(values, model=model):
            losses = model.train_step(values, kind=StepKind(regularizes=False))
            model.update_averages()
            return losses

        compiled = tf.function(step, autograph=False)
        functions[name] = lambda compiled=compiled: compiled(shared)
    return functions


def experiment(size: int, batch_size: int, precision: str, mask_weight: float) -> Any:
    """Configuration with the network widths of the thigh experiment."""
    from medusis_tf.methods.experiment import validate

    values = {
        "name": "benchmark",
        "data": {
            "classes": [
                {"id": i, "name": name, "colour": [50 * i] * 3} for i, name in enumerate(CLASSES)
            ],
            "image_size": [size, size],
            "subjects": [
                {"subject": "a", "split": "train", "label_map": "a.nii.gz"},
                {"subject": "b", "split": "train", "image": "b.nii.gz"},
            ],
        },
        "generator": {
            "name": "oasis",
            "base_channels": 16,
            "noise_dim": 32,
            "num_blocks": 5,
            "spade_channels": 32,
        },
        "discriminator": {"base_channels": 32, "max_channels": 128},
        "segmenter": {"base_channels": 16, "num_levels": 5},
        "mask_loss": {"threshold": {"name": "fixed", "value": -0.5}},
        "loss_weights": {"mask": mask_weight},
        "training": {"batch_size": batch_size, "precision": precision},
    }
    return validate(values, Path("benchmark"))


def body_batch(size: int, batch_size: int) -> dict[str, Any]:
    """Ellipses of five classes and images of them, with noise, specks and dark holes."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    row, column = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    distance = np.sqrt((row / 0.7) ** 2 + (column / 0.85) ** 2)
    label_map = np.digitize(-distance, [-1.0, -0.85, -0.3, -0.1]).astype(np.uint8)
    label_map = np.repeat(label_map[None], batch_size, axis=0)
    image = np.array([-1.0, 0.7, -0.1, -0.9, 0.3])[label_map]
    speck = rng.random(image.shape) < 0.02
    image = np.where(speck, -0.6 - image, image) + rng.normal(scale=0.05, size=image.shape)
    return {
        "label_map": tf.constant(label_map),
        "body_mask": tf.constant((label_map > 0).astype(np.uint8)),
        "image": tf.constant(np.clip(image, -1, 1)[..., None], tf.float32),
    }


def _medians(functions: dict[str, Callable[[], Any]], turns: int) -> dict[str, Milliseconds]:
    """Median times of alternating functions, after two warm-up turns."""
    import tensorflow as tf

    times: dict[str, list[Milliseconds]] = {name: [] for name in functions}
    for _ in range(turns + 2):
        for name, function in functions.items():
            start, busy = time.perf_counter(), time.process_time()
            tf.nest.map_structure(lambda value: value.numpy(), function())
            wall = time.perf_counter() - start
            times[name].append((1e3 * wall, 1e3 * (time.process_time() - busy)))
    kept = {name: zip(*values[2:], strict=True) for name, values in times.items()}
    return {name: tuple(map(statistics.median, kinds)) for name, kinds in kept.items()}


if __name__ == "__main__":
    main()

"""Costs of a data set by its number of patients, for `benchmarks.growth`.

Half of the patients are trained on, half are tested. Each has a CT, a tumour mask and an MR of
64x64x8 voxels. Seconds are processor time of all threads, which other load hardly affects.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.isolation import is_measurement, measure_apart, peak_gigabytes

SIDE, SLICES, BATCH_SIZE = 64, 8, 4
_REPEATS = 3


def measure_patients(patients: int) -> dict[str, float]:
    """Measure all tasks, each in a process of its own.

    Args:
        patients: Number of patients, even.

    Returns:
        Seconds of processor time, and gigabytes of the processes that prepare and evaluate.
    """
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, float] = {}
        for task in TASKS:
            settings = {"task": task, "folder": folder, "patients": patients}
            found |= measure_apart("benchmarks.patients", settings)
    return found


def measure(task: str, folder: str, patients: int) -> dict[str, float]:
    """Run one of the tasks of `measure_patients`."""
    return TASKS[task](Path(folder), patients)


def write(folder: Path, patients: int) -> dict[str, float]:
    """Write the volumes and the configuration."""
    import yaml

    from benchmarks.phantom_experiment import phantom_experiment
    from medusis_tf.config.yaml_files import merge
    from medusis_tf.data.phantom import write_phantom_dataset

    subjects = write_phantom_dataset(
        folder / "volumes", patients, 0, shape=(SIDE, SIDE, SLICES), with_pairs=True
    )[:patients]
    splits = ["train"] * (patients // 2) + ["test"] * (patients // 2)
    subjects = [
        each.model_copy(update={"split": split, "streams": None})
        for each, split in zip(subjects, splits, strict=True)
    ]
    values = phantom_experiment(
        folder / "volumes", folder / "cache", subjects, SIDE, BATCH_SIZE, minimum_foreground=0.0
    )
    (folder / "experiment.yaml").write_text(yaml.safe_dump(merge(values, small(folder))))
    return {}


def small(folder: Path) -> dict[str, Any]:
    """Sections of the smallest networks, and of a run in `folder` without validation."""
    sizes = {"base_channels": 2, "num_blocks": 2, "spade_channels": 4, "noise_dim": 4}
    return {
        "runs_dir": str(folder / "runs"),
        "generator": {"name": "oasis", **sizes},
        "discriminator": {"base_channels": 4, "max_channels": 8},
        "segmenter": {"base_channels": 2, "num_levels": 2},
        "training": {"validation": {"interval": 0}},
    }


def prepare(folder: Path, patients: int) -> dict[str, float]:
    """Convert all volumes, and write the report of the data."""
    from medusis_tf.data.preparing.preparation import mask_weight, prepare_shards
    from medusis_tf.reports.data.report import write_data_report

    config, _ = _opened(folder)
    start = time.process_time()
    shards = prepare_shards(config)
    seconds = time.process_time() - start
    report = least_seconds(
        lambda: write_data_report(
            config.data, shards, folder / "report.html", config.name, mask_weight(config)
        )
    )
    return {
        "prepare_seconds": seconds,
        "data_report_seconds": report,
        "prepare_gigabytes": peak_gigabytes(),
    }


def prepare_again(folder: Path, patients: int) -> dict[str, float]:
    """Read the configuration, and find that everything is prepared."""
    from medusis_tf.data.preparing.preparation import prepare_shards

    config, reading = _opened(folder)
    return {
        "configuration_seconds": reading,
        "prepare_again_seconds": least_seconds(lambda: prepare_shards(config)),
    }


def start(folder: Path, patients: int) -> dict[str, float]:
    """From the configuration to the first batch of a training."""
    from medusis_tf.data.preparing.preparation import prepare_shards
    from medusis_tf.methods.experiment import load_config
    from medusis_tf.training.loop import TrainingLoop

    class Loop(TrainingLoop):
        def train_on(self, batch: Any, step: int) -> Any:
            raise StopIteration

    since = time.process_time()
    config = load_config(folder / "experiment.yaml")
    loop = Loop(config, prepare_shards(config))
    try:
        loop.run()
    except StopIteration:
        return {"start_seconds": time.process_time() - since}
    raise RuntimeError("the training has no step")


def epoch(folder: Path, patients: int) -> dict[str, float]:
    """As many batches as show every label map of the training once."""
    from medusis_tf.data.batches.dataset import training_batches
    from medusis_tf.data.preparing.preparation import prepare_shards

    config, _ = _opened(folder)
    shards = prepare_shards(config)
    batches = patients // 2 * SLICES // BATCH_SIZE
    stream = training_batches(config, shards).take(batches)

    def run() -> None:
        for _ in stream:
            pass

    return {"epoch_seconds": least_seconds(run)}


def evaluate(folder: Path, patients: int) -> dict[str, float]:
    """All tables without networks, with baselines and audit, and then the report."""
    from medusis_tf.evaluation.evaluated_model import EvaluatedModel
    from medusis_tf.evaluation.evaluation import evaluate_model
    from medusis_tf.evaluation.options import EvaluationOptions
    from medusis_tf.evaluation.painters import Painter
    from medusis_tf.metrics.baselines import paint_gaussian_mixture
    from medusis_tf.reports.evaluation.report import write_evaluation

    config, _ = _opened(folder)
    classes = len(config.data.classes)
    painter = Painter(
        "painted", "model", lambda s, seed: paint_gaussian_mixture(s.label_map, classes, seed)
    )
    model = EvaluatedModel(painter, config, folder)
    since = time.process_time()
    evaluation = evaluate_model(model, EvaluationOptions(seeds=(0,)))
    seconds = time.process_time() - since
    return {
        "evaluate_seconds": seconds,
        "evaluation_report_seconds": least_seconds(
            lambda: write_evaluation(folder / "evaluation", evaluation)
        ),
        "evaluate_gigabytes": peak_gigabytes(),
    }


def least_seconds(function: Callable[[], Any]) -> float:
    """Processor time of the fastest of several calls, after one for warm-up."""
    seconds = []
    for _ in range(_REPEATS + 1):
        since = time.process_time()
        function()
        seconds.append(time.process_time() - since)
    return min(seconds[1:])


def _opened(folder: Path) -> tuple[Any, float]:
    """The configuration, and the seconds in which it is read."""
    from medusis_tf.methods.experiment import load_config

    path = folder / "experiment.yaml"
    return load_config(path), least_seconds(lambda: load_config(path))


# In this order: later tasks use what earlier ones wrote.
TASKS: dict[str, Callable[[Path, int], dict[str, float]]] = {
    "write": write,
    "prepare": prepare,
    "prepare_again": prepare_again,
    "start": start,
    "epoch": epoch,
    "evaluate": evaluate,
}


if __name__ == "__main__":
    is_measurement(measure)

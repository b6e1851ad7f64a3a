"""Steps of one global batch on several logical CPU devices, for `benchmarks.growth`."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.isolation import is_measurement, peak_gigabytes

# The first two steps are of two kinds, and each is traced.
_WARM_UP = 2


def measure(replicas: int, batch_size: int = 4, steps: int = 10) -> dict[str, float]:
    """Train the smallest networks on phantoms with the whole code of a run.

    Args:
        replicas: Logical devices that the CPU is divided into.
        batch_size: Global batch, divided among them.
        steps: Measured steps.

    Returns:
        Median seconds of a step on the clock, and of its processor time on all threads; processor
        time of the first step, which is traced; peak memory of the process.
    """
    with tempfile.TemporaryDirectory() as folder:
        config = experiment(Path(folder), replicas, batch_size)
        clock, busy = _train(config, steps)
    clock_steps, busy_steps = (
        [late - early for early, late in zip(ends[_WARM_UP:], ends[_WARM_UP + 1 :], strict=False)]
        for ends in (clock, busy)
    )
    return {
        "step_seconds": statistics.median(clock_steps),
        "step_processor_seconds": statistics.median(busy_steps),
        "first_step_seconds": busy[1] - busy[0],
        "peak_gigabytes": peak_gigabytes(),
    }


def experiment(folder: Path, replicas: int, batch_size: int) -> Any:
    """Configuration of two phantom patients, 64x64 pixels, on logical devices."""
    from benchmarks.patients import small
    from benchmarks.phantom_experiment import phantom_experiment
    from medusis_tf.config.yaml_files import merge
    from medusis_tf.data.phantom import write_phantom_dataset
    from medusis_tf.methods.experiment import validate

    subjects = write_phantom_dataset(folder / "volumes", 1, 1, shape=(64, 64, 8))
    values = phantom_experiment(
        folder / "volumes", folder / "cache", subjects, 64, batch_size, minimum_foreground=0.0
    )
    values = merge(values, small(folder))
    training = {
        "logical_devices": replicas,
        "strategy": "auto",
        "ema": {"refresh_batches": 0},
        "r1": {"interval": 10**6},  # only the first step has a penalty
    }
    return validate(merge(values, {"training": training}), Path("benchmark"))


def _train(config: Any, steps: int) -> tuple[list[float], list[float]]:
    """Times at which steps end, on the clock and of the processor; the first is the start."""
    import tensorflow as tf

    from medusis_tf.data.preparing.preparation import prepare_shards
    from medusis_tf.training.loop import TrainingLoop

    clock, busy = [], []

    class Loop(TrainingLoop):
        def train_on(self, batch: dict[str, tf.Tensor], step: int) -> dict[str, tf.Tensor]:
            if step == 1:
                note()
            losses = super().train_on(batch, step)
            _ = [float(each) for each in losses.values()]  # the step is done
            note()
            return losses

    def note() -> None:
        clock.append(time.perf_counter())
        busy.append(time.process_time())

    # The strategy divides the CPU, so TensorFlow must not be in use before.
    Loop(config, prepare_shards(config)).run(until=_WARM_UP + steps)
    return clock, busy


if __name__ == "__main__":
    is_measurement(measure)

"""Losses, other measurements and time of the training steps between two log entries."""

import time
from collections import defaultdict

import keras
import numpy as np
import tensorflow as tf

from medusis_tf.methods.nonfinite import SKIPPED


class Interval:
    """Losses and time of the training steps since the last log entry.

    Args:
        batch_size: Global batch size.
    """

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self._reset()

    def _reset(self) -> None:
        self._values: dict[str, list[tuple[tf.Tensor, tf.Tensor | None]]] = defaultdict(list)
        self._steps = 0
        self._seconds = 0.0
        self.resume()

    def resume(self) -> None:
        """Measure the time of steps again, after a pause."""
        self._since = time.perf_counter()

    def add(self, values: dict[str, tf.Tensor]) -> None:
        """Add the values of a step; on a GPU, they may still be computed."""
        skipped = values.get(SKIPPED)
        for name, value in values.items():
            self._values[name].append((value, skipped))
        self._steps += 1
        self._seconds += time.perf_counter() - self._since

    def finish(self) -> tuple[dict[str, float], float]:
        """Start a new interval.

        Returns:
            Means over the steps that were not skipped, by name; the number of skipped steps; and
            the images per second.
        """
        started = time.perf_counter()
        means = {name: _mean(values) for name, values in self._values.items() if name != SKIPPED}
        found = {name: mean for name, mean in means.items() if mean is not None}
        if SKIPPED in self._values:
            found[SKIPPED] = float(sum(float(value) for value, _ in self._values[SKIPPED]))
        seconds = self._seconds + time.perf_counter() - started
        images_per_second = self._steps * self._batch_size / seconds
        self._reset()
        return found, images_per_second


def _mean(values: list[tuple[tf.Tensor, tf.Tensor | None]]) -> float | None:
    kept = [value for value, skipped in values if skipped is None or float(skipped) == 0]
    return float(np.mean(kept)) if kept else None


def learning_rate(optimizer: keras.optimizers.Optimizer) -> float:
    """Current learning rate of an optimizer."""
    rate = optimizer.learning_rate
    # A mirrored variable has one value for each replica, and `float` does not accept it.
    return float(tf.convert_to_tensor(getattr(rate, "value", rate)))

"""Count the steps that were skipped, and stop a run that only skips."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.batches.record_order import record_order
from medusis_tf.data.shards.shards import Shards
from medusis_tf.errors import UserError
from medusis_tf.files import replacing
from medusis_tf.methods.nonfinite import NORM, SKIPPED

logger = logging.getLogger(__name__)

DUMP = "nonfinite.json"
# A GPU still computes when a step returns. Reading its result at once would make it wait.
_STEPS_BEHIND = 4

Values = Mapping[str, tf.Tensor]


class SkippedSteps:
    """The skipped steps in a row, of a method that skips steps that are not finite.

    Args:
        config: The experiment.
        shards: Its prepared slices, to name those of a bad batch.
        advice: What a user can change.
        writes: Whether this process writes the dump.
    """

    def __init__(self, config: ExperimentConfig, shards: Shards, advice: str, writes: bool = True):
        self._config, self._shards, self._advice = config, shards, advice
        self._writes = writes
        self._unread: deque[tuple[int, Values]] = deque()
        self._skipped: list[tuple[int, Values]] = []

    def add(self, step: int, values: Values) -> None:
        """Add the values of a step; those of the last few steps are not read yet.

        Raises:
            UserError: The configured number of steps in a row was skipped.
        """
        if SKIPPED not in values:
            return
        self._unread.append((step, values))
        while len(self._unread) > _STEPS_BEHIND:
            self._read()

    def in_a_row(self) -> int:
        """Number of skipped steps in a row, up to the last one added.

        Raises:
            UserError: The configured number of steps in a row was skipped.
        """
        while self._unread:
            self._read()
        return len(self._skipped)

    def _read(self) -> None:
        step, values = self._unread.popleft()
        if float(values[SKIPPED]) == 0:
            self._skipped.clear()
            return
        self._skipped.append((step, values))
        limit = self._config.training.max_skipped_steps
        names = _not_finite(values)
        if len(self._skipped) == 1:
            logger.warning(
                "warning: step %d skipped, not finite: %s. No weight has changed. The run stops "
                "after %d such steps in a row.",
                step,
                names,
                limit,
            )
        if len(self._skipped) >= limit:
            self._stop(names)

    def _stop(self, names: str) -> None:
        path = self._config.run_dir / DUMP
        if self._writes:
            with replacing(path) as temporary:
                temporary.write_text(json.dumps(self._dump(), indent=1), encoding="utf-8")
        first, last = self._skipped[0][0], self._skipped[-1][0]
        raise UserError(
            f"training diverged: steps {first} to {last} were skipped, not finite: {names}. {path} "
            "lists their slices, seeds, losses and gradients. The checkpoints are from before step "
            f"{first}. {self._advice[0].upper()}{self._advice[1:]}."
        )

    def _dump(self) -> dict[str, object]:
        first = self._skipped[0][0]
        size = self._config.training.batch_size
        order = record_order(self._config, self._shards, first - 1).batch(size)
        batches = order.take(len(self._skipped)).as_numpy_iterator()
        return {
            "steps": [
                {
                    "step": step,
                    # All random numbers of the step derive from these two.
                    "seed": [self._config.seed, step - 1],
                    "slices": {
                        kind: [self._name(kind, int(number)) for number in numbers[kind]]
                        for kind in ("label_map", "image")
                    },
                    "losses": {n: _number(v) for n, v in values.items() if "/" not in n},
                    "gradient_norms": {
                        name.removeprefix(NORM): _number(value)
                        for name, value in values.items()
                        if name.startswith(NORM)
                    },
                }
                for (step, values), numbers in zip(self._skipped, batches, strict=True)
            ]
        }

    def _name(self, kind: str, number: int) -> str:
        """Subject and index of a slice in its volume, by its number in the file of its kind."""
        for record in self._shards.records.subjects:
            place = number - record.first_record.get(kind, number + 1)  # type: ignore[call-overload]
            if 0 <= place < record.num_slices:
                return f"{record.subject}:{record.slice_indices[place]}"
        return str(number)


def _not_finite(values: Values) -> str:
    names = [n for n, v in values.items() if n != SKIPPED and not np.isfinite(float(v))]
    return ", ".join(name.replace(NORM, "gradient of ") for name in names)


def _number(value: tf.Tensor) -> float | str:
    """A number of JSON, which has no NaN."""
    number = float(value)
    return number if np.isfinite(number) else str(number)

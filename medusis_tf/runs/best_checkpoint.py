"""Keep the weights with the best validation metric."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from medusis_tf.config.training import VALIDATION_METRICS, MetricName
from medusis_tf.errors import UserError, reason
from medusis_tf.methods.method import Method
from medusis_tf.runs import checkpoint_files as files
from medusis_tf.runs.checkpoints import BEST, FOLDER, network_state
from medusis_tf.runs.records import Records

logger = logging.getLogger(__name__)


class BestCheckpoint:
    """The networks that evaluation and export read, of the best step so far: `checkpoints/best/`.

    A checkpoint to resume from also holds all other networks and the optimizers; for Med-USIS it
    is four to five times as large.

    A killed run continues from its newest checkpoint, which may be older than the best checkpoint
    and even than the previous best. Therefore a beaten checkpoint is kept until the run can no
    longer go back to a step before it was beaten (`settle`), and the best checkpoints of steps that
    will be repeated are removed (`rewind`). An interrupted run thus ends with the same best
    checkpoint.

    Args:
        method: Method whose networks are saved.
        run_dir: Folder of the run.
        metric: Metric that decides; None if nothing is measured.
    """

    def __init__(self, method: Method, run_dir: Path, metric: MetricName | None):
        self._folder = run_dir / FOLDER / BEST
        networks = method.evaluated_networks
        self._checkpoint = tf.train.Checkpoint(
            **{name: network_state(network) for name, network in networks.items()}
        )
        self._metric = metric
        self._value: float | None = None

    def offer(self, step: int, values: Mapping[str, float]) -> None:
        """Save the weights if they are better than all previous ones; of equals, the first stays.

        Args:
            step: Current step.
            values: Metric to value. Weights without a finite value of the metric are not saved.

        Raises:
            UserError: They cannot be written. The previous best checkpoint is unchanged.
        """
        if self._metric is None:
            return
        value = values.get(self._metric, np.nan)
        if not np.isfinite(value) or not self._is_better(value, self._metric):
            return
        path = self._save(step)
        self._value = value
        logger.info("saved %s: the best %s so far, %.4f", path, self._metric, value)

    def settle(self) -> None:
        """Remove beaten checkpoints: the run can now resume from the current step."""
        self._keep(files.steps_in(self._folder)[-1:])

    def rewind(self, start: int, records: Records) -> None:
        """Restore the state after step `start`.

        Args:
            start: Step of the checkpoint from which the run resumes; 0 for none.
            records: Measurements up to this step.

        Raises:
            UserError: A later best checkpoint cannot be removed.
        """
        try:
            files.clear_partial(self._folder)
            steps = [step for step in files.steps_in(self._folder) if step <= start][-1:]
            self._keep(steps)
        except OSError as error:
            raise UserError(
                f"cannot remove a best checkpoint of a step that will be repeated: {error}. Make "
                f"{self._folder} writable, or remove it."
            ) from None
        self._value = records.value(steps[-1], f"validation/{self._metric}") if steps else None

    def _is_better(self, value: float, metric: MetricName) -> bool:
        if self._value is None:
            return True
        higher_is_better = VALIDATION_METRICS[metric].higher_is_better
        return value > self._value if higher_is_better else value < self._value

    def _save(self, step: int) -> Path:
        path = self._folder / f"step-{step}"
        try:
            self._folder.parent.mkdir(exist_ok=True)
            files.write(self._checkpoint, path)
        except (OSError, tf.errors.OpError) as error:
            raise UserError(
                f"cannot write the best checkpoint of step {step} to {self._folder}: "
                f"{reason(error)}. Earlier checkpoints are unchanged. Free some space and continue "
                "with --resume."
            ) from None
        return path

    def _keep(self, steps: Sequence[int]) -> None:
        """Remove the files of all other steps, including those of incomplete checkpoints."""
        for other in set(files.steps_of_all_files(self._folder)) - set(steps):
            files.remove(self._folder / f"step-{other}")

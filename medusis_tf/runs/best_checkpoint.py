"""Keep the weights that did best on the validation patients."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from medusis_tf.config.training import VALIDATION_METRICS, MetricName
from medusis_tf.errors import UserError
from medusis_tf.methods.method import Method
from medusis_tf.runs.checkpoints import BEST, FOLDER, network_state, steps_in
from medusis_tf.runs.records import Records

logger = logging.getLogger(__name__)

_PARTIAL = "partial"


class BestCheckpoint:
    """What evaluation and export read of the best step so far, in `checkpoints/best/`.

    For Med-USIS these are the EMA generator and the segmenter. The checkpoints that a run
    resumes from hold everything, and are four to five times as large.

    A run that is killed goes on from its newest checkpoint, which may be older than the best one
    and even than the best before that. So a best checkpoint that was beaten is kept until the run
    cannot go back behind that any more (`settle`), and one of a step that is to be taken again is
    removed (`rewind`): whatever is interrupted, the run ends with the same best.

    Args:
        method: Whose weights are saved.
        run_dir: The run.
        metric: What decides; None if nothing is measured.
    """

    def __init__(self, method: Method, run_dir: Path, metric: MetricName | None):
        self._folder = run_dir / FOLDER / BEST
        networks = method.evaluated_networks
        self._checkpoint = tf.train.Checkpoint(
            **{name: network_state(network) for name, network in networks.items()}
        )
        self._metric = metric
        self._value: float | None = None

    def offer(self, step: int, figures: Mapping[str, float]) -> None:
        """Save the weights if they are better than all before; the first of equals stays.

        Args:
            step: That they are of.
            figures: What was measured with them; without the metric they are not the best.

        Raises:
            UserError: They cannot be written. The best checkpoint so far is untouched.
        """
        if self._metric is None:
            return
        value = figures.get(self._metric, np.nan)
        if not np.isfinite(value) or not self._is_better(value, self._metric):
            return
        path = self._save(step)
        self._value = value
        logger.info("saved %s: the best %s so far, %.4f", path, self._metric, value)

    def settle(self) -> None:
        """Remove what was beaten: the run can go on from a checkpoint of this step."""
        self._keep(steps_in(self._folder)[-1:])

    def rewind(self, start: int, records: Records) -> None:
        """Be as at the end of step `start`.

        Args:
            start: Of the checkpoint that the run goes on from; 0 for none.
            records: What was measured until then.

        Raises:
            UserError: Something in the folder cannot be removed.
        """
        try:
            shutil.rmtree(self._folder / _PARTIAL, ignore_errors=True)
            steps = [step for step in steps_in(self._folder) if step <= start][-1:]
            self._keep(steps)
        except OSError as error:
            raise UserError(
                f"cannot remove a best checkpoint that the run goes back behind: {error}. Allow "
                f"that, or remove {self._folder}."
            ) from None
        self._value = records.value(steps[-1], f"validation/{self._metric}") if steps else None

    def _is_better(self, value: float, metric: MetricName) -> bool:
        if self._value is None:
            return True
        higher_is_better = VALIDATION_METRICS[metric].higher_is_better
        return value > self._value if higher_is_better else value < self._value

    def _save(self, step: int) -> Path:
        """Write elsewhere, then move: a checkpoint exists with its index, which comes last."""
        partial, path = self._folder / _PARTIAL, self._folder / f"step-{step}"
        try:
            partial.mkdir(parents=True, exist_ok=True)
            self._checkpoint.write(str(partial / path.name))
            for file in sorted(partial.iterdir(), key=_is_index):
                file.replace(self._folder / file.name)
            partial.rmdir()
        except (OSError, tf.errors.OpError) as error:
            raise UserError(
                f"the best checkpoint of step {step} could not be written to {self._folder}: "
                f"{error}. Earlier checkpoints are untouched; free some space and go on with "
                "--resume."
            ) from None
        return path

    def _keep(self, steps: Sequence[int]) -> None:
        """Remove the files of all other steps, those too that were left half written or removed."""
        names = {f"step-{step}" for step in steps}
        # Without its index, the first, a checkpoint does not exist.
        for file in sorted(self._folder.glob("step-*.*"), key=_is_index, reverse=True):
            if file.name.partition(".")[0] not in names:
                file.unlink()


def _is_index(file: Path) -> bool:
    return file.suffix == ".index"

"""What the workers of a run agree on: that they train the same, and when they stop."""

from __future__ import annotations

import hashlib
import json
import logging

import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.config.training import TrainingConfig
from medusis_tf.data.shards.shards import Shards
from medusis_tf.errors import UserError
from medusis_tf.methods.distribution import (
    from_all_workers,
    make_strategy,
    worker_count,
    worker_number,
)
from medusis_tf.training.session import Interruption

logger = logging.getLogger(__name__)


def strategy_of(training: TrainingConfig) -> tf.distribute.Strategy:
    """Make the distribution strategy of a run.

    Raises:
        UserError: See `make_strategy`.
    """
    return make_strategy(
        training.strategy,
        training.batch_size,
        training.logical_devices,
        training.num_passes,
        training.worker_timeout,
    )


class Workers:
    """The processes that train one run together. A single process agrees with itself at no cost.

    Args:
        strategy: Strategy of the run.

    Attributes:
        count: Number of workers.
        number: Number of this worker, from 0.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy, self._stops = strategy, False
        self.count, self.number = worker_count(strategy), worker_number(strategy)
        if self.count > 1:
            logger.info("worker %d of %d", self.number, self.count)
        if not self.is_chief:
            # The others would repeat what the chief says.
            logging.getLogger("medusis_tf").setLevel(logging.WARNING)

    @property
    def is_chief(self) -> bool:
        """Whether this worker measures, logs and writes."""
        return self.number == 0

    def check(self, config: ExperimentConfig, shards: Shards) -> None:
        """Check that all train the same experiment on the same slices, and that these suffice.

        Raises:
            UserError: They do not.
        """
        devices = self._strategy.num_replicas_in_sync
        batch_size = config.training.batch_size
        for stream in ("label_map", "image"):
            slices = sum(entry.num_slices for entry in shards.subjects("train", stream))
            if slices < batch_size:
                raise UserError(
                    f"the training split has {slices} slices of the stream {stream}, too few for "
                    f"training.batch_size={batch_size}. Lower training.batch_size"
                    f"{' and the number of devices' if devices > 1 else ''}, or add subjects."
                )
        if devices == 1:
            return
        settings = config.model_dump(
            mode="json", exclude={"runs_dir": True, "data": {"root", "cache_dir"}}
        )
        contents = [entry.content for entry in shards.records.subjects]
        text = json.dumps([settings, contents, devices], sort_keys=True)
        digest = int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)
        self._check_equal(digest, "the configuration and the prepared slices")

    def check_step(self, step: int) -> None:
        """Wait for all, and check that they are at the same step.

        Raises:
            UserError: They are not.
        """
        self._check_equal(step, "the checkpoints of runs_dir")

    def agree_to_stop(self, interruption: Interruption) -> bool:
        """Whether any worker received a signal, so that all stop after the same step.

        Args:
            interruption: Signal of this worker; it takes over that of another.
        """
        signal = max(from_all_workers(self._strategy, interruption.signal or 0))
        self._stops = signal > 0
        if self._stops:
            interruption.adopt(signal)
        return self._stops

    def agrees(self, is_limited: bool) -> bool:
        """Whether the time of the run is limited; of several workers, only once all stop."""
        return is_limited and (self.count == 1 or self._stops)

    def profiled(self, training: TrainingConfig) -> TrainingConfig:
        """Settings of the training, without a profile on all workers but the chief."""
        if self.is_chief:
            return training
        return training.model_copy(update={"profile_steps": None})

    def _check_equal(self, value: int, what: str) -> None:
        values = from_all_workers(self._strategy, value)
        other = next((n for n, each in enumerate(values) if each != values[0]), None)
        if other is not None:
            raise UserError(
                f"worker {other} and the chief do not see the same: {what} differ. Start all "
                "workers with the same command, on storage that all share."
            )

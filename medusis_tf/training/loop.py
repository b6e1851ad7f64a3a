"""The training loop: one loop for one device, several devices, and a resumed run."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
import yaml

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.batches.dataset import training_batches
from medusis_tf.data.batches.record_order import paired_subjects
from medusis_tf.data.shards.shards import Shards
from medusis_tf.errors import UserError
from medusis_tf.methods.distribution import make_strategy, share_batch
from medusis_tf.progress import TrainingProgress
from medusis_tf.runs.best_checkpoint import BestCheckpoint
from medusis_tf.runs.checkpoints import Checkpoints
from medusis_tf.runs.records import Records
from medusis_tf.training.panel import TrainingPanel
from medusis_tf.training.session import Interruption, StepProfile
from medusis_tf.training.validation import Validation, open_validation

logger = logging.getLogger(__name__)


class TrainingLoop:
    """Train one experiment, from the start or from its newest checkpoint.

    Args:
        config: The experiment.
        shards: Its prepared slices.
        strategy: Devices to train on; made from the configuration if not given.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        shards: Shards,
        strategy: tf.distribute.Strategy | None = None,
    ):
        self.config = config
        self.shards = shards
        training = config.training
        self.strategy = strategy or make_strategy(training.strategy, training.batch_size)
        # Grappler's remapper fails on this graph with a loud message, and gains nothing.
        tf.config.optimizer.set_experimental_options({"remapping": False})
        keras.utils.set_random_seed(config.seed)
        with self.strategy.scope():
            self.method = config.build_method(shards, self.strategy.num_replicas_in_sync)
        if training.jit:
            self._check_jit()
        self.validation = open_validation(config, shards)
        self.checkpoints = Checkpoints(self.method, config.run_dir, training.checkpoints_to_keep)
        metric = self.validation.metric if self.validation else None
        self.best = BestCheckpoint(self.method, config.run_dir, metric)
        self._refresh = self._compile_refresh()

    def run(self, resume: bool = False) -> int | None:
        """Train until `config.training.steps`, or until SIGINT or SIGTERM.

        Returns:
            The signal that ended the training early, or None.

        Raises:
            UserError: A loss is no longer finite, or nothing can be resumed or written.
        """
        start = self.checkpoints.restore() if resume else 0
        records = Records(self.config.run_dir, start)
        self.best.rewind(start, records)
        if start == 0:
            records.text("config", yaml.safe_dump(self.config.model_dump(mode="json")))
        steps = self.config.training.steps
        try:
            with (
                Interruption() as interruption,
                StepProfile(self.config.training, records.tensorboard, start) as profile,
                TrainingProgress(start, steps) as progress,
            ):
                self._train(start, records, profile, progress, interruption)
        finally:
            records.close()
        return interruption.signal

    def train_on(self, batch: dict[str, tf.Tensor], step: int) -> dict[str, tf.Tensor]:
        """Take step number `step`, counted from 1, on one global batch."""
        return self.method.take_step(batch, step)

    def _train(
        self,
        start: int,
        records: Records,
        profile: StepProfile,
        progress: TrainingProgress,
        interruption: Interruption,
    ) -> None:
        training = self.config.training
        if pairs := paired_subjects(self.config, self.shards):
            names = ", ".join(entry.subject for entry in pairs)
            logger.info(
                "%s: %d subjects are pairs: %s", self.config.data.pairing, len(pairs), names
            )
        batches = iter(self._batches(start))
        panel = TrainingPanel(self.config, self.shards)
        interval = _Interval(training.batch_size)
        for step in range(start + 1, training.steps + 1):
            with profile.step(step):
                losses = self.train_on(next(batches), step)
            interval.add(losses)
            progress.advance()
            is_interrupted = interruption.signal is not None
            is_last = step == training.steps or is_interrupted
            if is_last or step % training.log_interval == 0:
                self._log(step, interval, records, progress)
            self._look(step, is_last, losses, records, panel)
            if is_interrupted:
                break
            interval.resume()

    def _look(
        self,
        step: int,
        is_last: bool,
        losses: dict[str, tf.Tensor],
        records: Records,
        panel: TrainingPanel,
    ) -> None:
        """Measure, save and show what is there after a step, if it is time to."""
        training = self.config.training
        shows = step == training.steps or step % training.panel_interval == 0
        saves = is_last or step % training.checkpoint_interval == 0
        due = self.validation
        if due is not None and not due.is_due(step, training.steps):
            due = None
        if saves or due:
            self._check_finite(step, {name: float(value) for name, value in losses.items()})
        if shows or saves or due:
            self.refresh_painter(step)
        # Before the checkpoint: a run that goes on from it knows what was best until then.
        if due:
            self._validate(due, step, records)
        if saves:
            logger.info("saved %s", self.checkpoints.save())
            self.best.settle()
        if shows:
            records.panel(step, panel.draw(self.method))

    def _batches(self, start: int) -> tf.data.Dataset:
        return training_batches(
            self.config, self.shards, start, body_mask=self.method.needs_body_mask
        )

    def refresh_painter(self, step: int) -> None:
        """Renew the painter's batch statistics on the batches that follow `step`.

        It is saved and shown ready for use; the next step overwrites its statistics.
        """
        passes = self.config.training.ema.refresh_batches
        batches = self._batches(step).take(passes)
        for number, batch in enumerate(batches):
            self._refresh(share_batch(self.strategy, batch), tf.constant(number, tf.int64))

    def _validate(self, validation: Validation, step: int, records: Records) -> None:
        """Measure the EMA generator, and keep its weights if they are the best so far."""
        figures = validation.measure(self.method.painter)
        if not figures:
            logger.info(
                "step %d: the EMA generator's pictures are not finite, nothing to measure", step
            )
            return
        told = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        logger.info("step %d  validation  %s", step, told)
        self.best.offer(step, figures)
        records.scalars(step, {f"validation/{name}": value for name, value in figures.items()})

    def _log(
        self, step: int, interval: "_Interval", records: Records, progress: TrainingProgress
    ) -> None:
        losses, images_per_second = interval.finish()
        progress.report(step, losses, images_per_second)
        scalars = {f"losses/{name}": value for name, value in losses.items()}
        for name, optimizer in self.method.network_optimizers.items():
            # Mirrored variables hold one value for each replica; `float` does not accept them.
            rate = tf.convert_to_tensor(optimizer.learning_rate.value)
            scalars[f"learning_rate/{name}"] = float(rate)
        records.scalars(step, {**scalars, "images_per_second": images_per_second})
        self._check_finite(step, losses)

    def _check_finite(self, step: int, losses: dict[str, float]) -> None:
        """Stop a training that cannot recover, before its weights replace a good checkpoint."""
        if diverged := [name for name, value in losses.items() if not np.isfinite(value)]:
            raise UserError(
                f"the training diverged by step {step}: {', '.join(diverged)} is not finite. "
                f"The newest checkpoint in {self.config.run_dir} is from before; lower the "
                "learning rates, raise training.r1.gamma, or use training.precision=float32."
            )

    def _check_jit(self) -> None:
        if (replicas := self.strategy.num_replicas_in_sync) > 1:
            raise UserError(
                f"training.jit compiles the step of one device; this training has {replicas}. Set "
                "training.jit=false, or training.strategy=one_device."
            )
        self.method.check_jit()

    def _compile_refresh(self) -> Callable[..., None]:
        @tf.function(autograph=False)
        def refresh(batch: dict[str, tf.Tensor], number: tf.Tensor) -> None:
            self.strategy.run(self.method.refresh_painter, args=(batch, number))

        return refresh


class _Interval:
    """Losses and time of the steps since the last log line, without saving and drawing."""

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self._reset()

    def _reset(self) -> None:
        self._losses: dict[str, list[tf.Tensor]] = defaultdict(list)
        self._steps = 0
        self._seconds = 0.0
        self.resume()

    def resume(self) -> None:
        self._since = time.perf_counter()

    def add(self, losses: dict[str, tf.Tensor]) -> None:
        for name, value in losses.items():
            self._losses[name].append(value)
        self._steps += 1
        self._seconds += time.perf_counter() - self._since

    def finish(self) -> tuple[dict[str, float], float]:
        started = time.perf_counter()
        losses = {name: float(np.mean(values)) for name, values in self._losses.items()}
        seconds = self._seconds + time.perf_counter() - started
        images_per_second = self._steps * self._batch_size / seconds
        self._reset()
        return losses, images_per_second

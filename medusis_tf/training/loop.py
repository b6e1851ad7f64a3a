"""The training loop, for every method, on one or several devices."""

import functools
import logging
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import yaml

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.data.batches.dataset import training_batches
from medusis_tf.data.batches.record_order import paired_subjects
from medusis_tf.data.shards.shards import Shards
from medusis_tf.data.shards.watch import Watch
from medusis_tf.errors import UserError
from medusis_tf.methods.distribution import copied_ahead, own_positions, share_batch
from medusis_tf.methods.nonfinite import SKIPPED
from medusis_tf.progress import TrainingProgress
from medusis_tf.runs.best_checkpoint import BestCheckpoint
from medusis_tf.runs.checkpoints import Checkpoints
from medusis_tf.runs.hyper_parameters import data_summary, hyper_parameters
from medusis_tf.runs.records import NoRecords, Records
from medusis_tf.runs.run_dir import check_run_dir
from medusis_tf.runs.run_folder import open_run
from medusis_tf.runs.trackers import RunFacts, Trackers
from medusis_tf.training.graph_optimizers import limit_graph_optimizers
from medusis_tf.training.health import Health, HealthWarnings
from medusis_tf.training.interval import Interval, learning_rate
from medusis_tf.training.panel import TrainingPanel
from medusis_tf.training.session import Interruption, StepProfile
from medusis_tf.training.skipped_steps import SkippedSteps
from medusis_tf.training.validation import Validation, open_validation
from medusis_tf.training.volume_panel import VolumePanel
from medusis_tf.training.workers import Workers, strategy_of

logger = logging.getLogger(__name__)


class TrainingLoop:
    """Train one experiment, from the start or from its newest checkpoint.

    Args:
        config: The experiment.
        shards: Prepared slices of the experiment.
        strategy: Distribution strategy; by default the one of the configuration.
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
        self.strategy = strategy or strategy_of(training)
        self.workers = Workers(self.strategy)
        self.workers.check(config, shards)
        self.watch = Watch(shards)
        limit_graph_optimizers()
        keras.utils.set_random_seed(config.seed)
        if training.deterministic:
            tf.config.experimental.enable_op_determinism()
        with self.strategy.scope():
            self.method = config.build_method(shards, self.strategy.num_replicas_in_sync)
        if training.jit:
            self.method.check_jit()
        self.validation = open_validation(config, shards, self.method.needs_field_of_view)
        self.health = None
        if self.validation:
            self.health = Health(config, shards, self.method.needs_field_of_view)
        self.warnings = HealthWarnings(self.health.num_images if self.health else 0)
        self.checkpoints = Checkpoints(self.method, config.run_dir, training.checkpoints_to_keep)
        metric = self.validation.metric if self.validation else None
        self.best = BestCheckpoint(self.method, config.run_dir, metric)
        self._refresh = self._compile_refresh()
        self.skipped = SkippedSteps(
            config, shards, self.method.divergence_advice, self.workers.is_chief
        )
        self.interruption = Interruption(training.stop_seconds)

    def run(self, resume: bool = False, until: int | None = None) -> int | None:
        """Train until a step, or until SIGINT or SIGTERM.

        A new run first writes its folder with `config.yaml` and `manifest.json`.

        Args:
            resume: Whether to continue from the newest checkpoint of the run.
            until: Last step; by default `config.training.steps`.

        Returns:
            The signal that stopped the training early, or None.

        Raises:
            UserError: The folder already holds a run, or no run that can be resumed; a file cannot
                be written; or a loss is no longer finite.
        """
        self._last_step = until or self.config.training.steps
        writes = self.workers.is_chief
        if resume or writes:
            check_run_dir(self.config, resume)
        with open_run(self.config, self.shards.manifest, resume, writes) as self.folder:
            return self._run(resume)

    def _run(self, resume: bool) -> int | None:
        start = self.checkpoints.restore() if resume else 0
        self.workers.check_step(start)
        records, training = self._open_records(start), self.config.training
        finished = False
        try:
            if self.workers.is_chief:
                self.best.rewind(start, records)
            with (
                self.interruption as interruption,
                StepProfile(self.workers.profiled(training), records.tensorboard, start) as profile,
                TrainingProgress(start, self._last_step, training.batch_size) as progress,
            ):
                self._train(start, records, profile, progress, interruption)
            self.workers.check_step(self._last_step)  # the others wait for the chief's last files
            finished = int(self.method.step) >= self._last_step  # a signal came too late to stop it
        finally:
            records.close(finished)
        return None if finished else interruption.signal

    def _open_records(self, start: int) -> Records:
        config = self.config
        if not self.workers.is_chief:
            return NoRecords(config.run_dir)
        settings, data = hyper_parameters(config), data_summary(self.shards.records)
        trackers = Trackers(
            config.training.trackers, config.run_dir, RunFacts(config.name, settings, data)
        )
        records = Records(config.run_dir, start, trackers)
        if start == 0:
            records.text("config", yaml.safe_dump(config.model_dump(mode="json")))
            records.text("data", data)
            records.hyper_parameters(settings, config.name)
        return records

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
        batches = iter(copied_ahead(self.strategy, self._batches(start)))
        panel = TrainingPanel(self.config, self.shards, self.method.needs_field_of_view)
        interval = Interval(training.batch_size)
        for step in range(start + 1, self._last_step + 1):
            with profile.step(step):
                losses = self.train_on(next(batches), step)
            interval.add(losses)
            self.skipped.add(step, losses)
            progress.advance()
            is_interrupted = self.workers.agree_to_stop(interruption)
            is_last = step == self._last_step or is_interrupted
            self.folder.check_in_place(functools.partial(self._save_elsewhere, step))
            if is_last or step % training.log_interval == 0:
                self._log(step, interval, records, progress)
            self._validate_and_save(step, is_last, losses, records, panel)
            if is_interrupted:
                break
            interval.resume()

    def _validate_and_save(
        self,
        step: int,
        is_last: bool,
        losses: dict[str, tf.Tensor],
        records: Records,
        panel: TrainingPanel,
    ) -> None:
        """Validate, save a checkpoint and draw the panel after a step, each at its interval."""
        training = self.config.training
        shows = step == self._last_step or step % training.panel_interval == 0
        shows_volume = training.draws_volume(step, self._last_step)
        saves = is_last or step % training.checkpoint_interval == 0
        due = self.validation
        if due is not None and not due.is_due(step, self._last_step):
            due = None
        if self.workers.agrees(self.interruption.is_limited):
            due, shows, shows_volume = None, False, False
        if saves or due:
            # Between skipped steps, older checkpoints are the better ones.
            saves = saves and (self.skipped.in_a_row() == 0 or is_last)
            self._check_finite(step, {name: float(value) for name, value in losses.items()})
        if shows or shows_volume or saves or due:
            self.refresh_painter(step)
        if not self.workers.is_chief:
            return
        # Before the checkpoint, so that a run that resumes from it knows the best value.
        if due:
            with self.interruption.skippable("the validation"):
                self._validate(due, step, records)
        if saves:
            self.watch.check()
            logger.info("saved %s", self.checkpoints.save())
            self.best.settle()
        with self.interruption.skippable("a panel"):
            if shows:
                records.panel(step, panel.draw(self.method))
            if shows_volume:
                volume = VolumePanel(self.config, self.shards, self.method.needs_field_of_view)
                records.panel(step, volume.draw(self.method), "volume")

    def _save_elsewhere(self, step: int, run_dir: Path) -> None:
        if self.workers.count == 1:  # the others do not take part
            self.refresh_painter(step)
        Checkpoints(self.method, run_dir, self.config.training.checkpoints_to_keep).save()

    def _batches(self, start: int) -> tf.data.Dataset:
        return training_batches(
            self.config,
            self.shards,
            start,
            body_mask=self.method.needs_body_mask,
            field_of_view=self.method.needs_field_of_view,
            positions=own_positions(self.strategy, self.config.training.batch_size),
            pseudo_labels=self.method.pseudo_labels,
        )

    def refresh_painter(self, step: int) -> None:
        """Recompute the painter's batch statistics on the batches after `step`, to use it."""
        passes = self.config.training.ema.refresh_batches
        if passes == 0:
            return
        for number, batch in enumerate(self._batches(step).take(passes)):
            if self.workers.count == 1 and self.interruption.is_urgent:
                logger.info("the statistics of the painter are not up to date: the run must stop")
                return
            self._refresh(share_batch(self.strategy, batch), tf.constant(number, tf.int64))

    def _validate(self, validation: Validation, step: int, records: Records) -> None:
        """Validate the painter, and keep the weights if they are the best so far."""
        values = validation.measure(self.method.painter)
        if not values:
            logger.info("step %d: not validated, the synthetic images are not finite", step)
            return
        text = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        logger.info("step %d  validation  %s", step, text)
        self.best.offer(step, values)
        scalars = {f"validation/{name}": value for name, value in values.items()}
        if self.health:
            health = self.health.measure(self.method)
            self.warnings.see_validation(step, health)
            scalars |= health
        records.scalars(step, scalars)

    def _log(
        self, step: int, interval: Interval, records: Records, progress: TrainingProgress
    ) -> None:
        values, images_per_second = interval.finish()
        losses = {name: value for name, value in values.items() if "/" not in name}
        progress.report(step, losses, images_per_second)
        scalars = {n if "/" in n else f"losses/{n}": value for n, value in values.items()}
        for name, optimizer in self.method.network_optimizers.items():
            scalars[f"learning_rate/{name}"] = learning_rate(optimizer)
        records.scalars(step, {**scalars, "images_per_second": images_per_second})
        self._check_finite(step, values)
        self.warnings.see_steps(step, values)

    def _check_finite(self, step: int, losses: dict[str, float]) -> None:
        """Stop diverged training before its weights replace a good checkpoint.

        A method that skips such steps has no bad weights; see `SkippedSteps`.
        """
        if SKIPPED in losses:
            return
        if diverged := [name for name, value in losses.items() if not np.isfinite(value)]:
            advice = self.method.divergence_advice
            raise UserError(
                f"training diverged by step {step}: {', '.join(diverged)} is not finite. "
                f"The newest checkpoint in {self.config.run_dir} is older. "
                f"{advice[0].upper()}{advice[1:]}."
            )

    def _compile_refresh(self) -> Callable[..., None]:
        @tf.function(autograph=False)
        def refresh(batch: dict[str, tf.Tensor], number: tf.Tensor) -> None:
            self.strategy.run(self.method.refresh_painter, args=(batch, number))

        return refresh

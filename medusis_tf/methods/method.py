"""What a way of learning offers to training, checkpoints, panels, validation and export."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.methods.distribution import distribute, share_batch

Batch = dict[str, Any]
Losses = dict[str, tf.Tensor]


class Method(keras.Model):
    """Networks that learn to paint label maps, and one training step.

    The training loop, checkpoints, panels, validation and export know a method only through this
    class. A new method is a folder in `methods/` with a subclass and its configuration, and one
    entry in the union of `methods/experiment.py`. Create it inside the scope of the distribution
    strategy.

    Called as a model, a method paints with its averaged network: `method(one_hot, noise)`. `fit`
    trains on one device, from a dataset of `medusis_tf.data.batches.dataset.training_batches`;
    `medusis_tf.training.loop` also logs, validates, saves and resumes.

    Args:
        config: The experiment.
        num_replicas: Number of replicas that share a global batch of `config.training.batch_size`.

    Attributes:
        needs_body_mask: Whether batches must contain `body_mask`.
    """

    needs_body_mask = False

    def __init__(self, config: ExperimentConfig, num_replicas: int = 1):
        super().__init__(name=type(self).__name__.lower())
        self.config = config
        self.num_replicas = num_replicas
        self._compiled_steps: dict[Hashable, Callable[..., Losses]] = {}
        # `fit` asks for it; losses and optimizers are the method's own.
        self.compile(optimizer=None, jit_compile=False)

    @property
    @abstractmethod
    def networks(self) -> Mapping[str, keras.Model]:
        """All networks that a checkpoint must hold, by name."""

    @property
    @abstractmethod
    def network_optimizers(self) -> Mapping[str, keras.optimizers.Optimizer]:
        """The optimizers, by the name of the network that each updates."""

    @property
    @abstractmethod
    def painter(self) -> keras.Model:
        """The averaged network that paints: shown, validated and exported.

        `painter(one_hot, noise, training=False)` returns images `[batch, height, width, channels]`
        in [-1, 1]. It has `stride`, which both sides of a label map must be divisible by, and
        `noise_shape`, the shape of one image's noise, or None.
        """

    @property
    def evaluated_networks(self) -> Mapping[str, keras.Model]:
        """The networks that evaluation and export read; `checkpoints/best` holds only these."""
        return self.networks

    @property
    def shown_networks(self) -> Mapping[str, keras.Model]:
        """Networks in the panel, by column title: the first with several noises, the rest with one.

        Each is called as `painter` is.
        """
        return {"EMA": self.painter}

    @property
    def step(self) -> tf.Tensor:
        """Number of steps taken, int64; every random number of the next step derives from it."""
        first = next(iter(self.network_optimizers.values()))
        return tf.cast(first.iterations.value, tf.int64)

    @abstractmethod
    def train_step(self, batch: Batch, kind: Hashable = None) -> Losses:
        """Update every network once, on one replica.

        Args:
            batch: `label_map` `[batch, height, width]` integers, `image`
                `[batch, height, width, channels]` in [-1, 1], `position` `[batch]` in the global
                batch; `body_mask` `[batch, height, width]` of 0 and 1 if `needs_body_mask`; and
                `is_paired` `[batch]` where label maps and images may belong together.
            kind: From `step_kind`.

        Returns:
            Unweighted losses by name. Their mean over the replicas is the loss of the global batch.
        """

    def step_kind(self, step: int) -> Hashable:
        """The kind of step number `step`, counted from 1; each kind is compiled once."""
        return None

    @abstractmethod
    def update_averages(self) -> None:
        """Move the averaged networks; called after each step, outside `strategy.run`."""

    def refresh_painter(self, batch: Batch, pass_number: tf.Tensor) -> None:
        """Renew the painter's batch statistics by one forward pass in training mode, if it has any.

        Args:
            batch: As for `train_step`.
            pass_number: 0 for the first pass, scalar int64.
        """

    def check_jit(self) -> None:
        """Check that XLA can compile the step.

        Raises:
            UserError: It cannot; the message names the setting to change.
        """

    def take_step(self, batch: dict[str, tf.Tensor], step: int) -> Losses:
        """Take step number `step`, counted from 1, on a global batch, compiled, on all replicas."""
        kind = self.step_kind(step)
        if kind not in self._compiled_steps:
            self._compiled_steps[kind] = self._compile_step(kind)
        return self._compiled_steps[kind](share_batch(self.distribute_strategy, batch))

    def call(
        self, one_hot: tf.Tensor, noise: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        """Paint with the averaged network; see `painter`."""
        return self.painter(one_hot, noise, training=training)

    def make_train_function(self, force: bool = False) -> Callable[[Iterator[Batch]], Losses]:
        """See Keras: `fit` takes the same compiled steps as the training loop.

        Raises:
            ValueError: There are several replicas; Keras shares a batch otherwise than a resumed
                or one-device run would.
        """
        if self.num_replicas > 1:
            raise ValueError(
                f"fit trains on one device. Received: {self.num_replicas} replicas. Use "
                "medusis_tf.training.loop.TrainingLoop."
            )
        taken = int(self.step)

        def train_function(iterator: Iterator[Batch]) -> Losses:
            nonlocal taken
            taken += 1
            return self.take_step(next(iterator), taken)

        self.train_function = train_function
        return train_function

    def _compile_step(self, kind: Hashable) -> Callable[..., Losses]:
        run = distribute(self.distribute_strategy, lambda batch: self.train_step(batch, kind))

        @tf.function(autograph=False, jit_compile=self.config.training.jit)
        def step(batch: dict[str, tf.Tensor]) -> Losses:
            losses = run(batch)
            self.update_averages()
            return losses

        return step

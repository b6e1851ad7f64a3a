"""The interface of a learning method: what training, evaluation and export know of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.errors import UserError
from medusis_tf.methods.distribution import distribute, share_batch
from medusis_tf.methods.nonfinite import SKIPPED, LossScale, Snapshot

Batch = dict[str, Any]
Losses = dict[str, tf.Tensor]


class Method(keras.Model):
    """Networks that learn to synthesize images from label maps, and their training step.

    The training loop, checkpoints, panels, validation and export use only this class. A new method
    is a folder in `methods/` with a subclass and its configuration, and one entry of
    `PACKAGED_METHODS` in `methods/experiment.py`. Create a method in the scope of the distribution
    strategy.

    A method is a Keras model that synthesizes with its painter: `method(one_hot, noise)`.
    `method.fit(training_batches(config, shards), steps_per_epoch=100, shuffle=False)` trains on one
    device, with batches of `medusis_tf.data.batches.dataset`.
    `medusis_tf.training.loop.TrainingLoop` also logs, validates, saves and resumes.

    Args:
        config: The experiment.
        num_replicas: Number of replicas that share a global batch of `config.training.batch_size`.

    Attributes:
        needs_body_mask: Whether batches must contain `body_mask`.
        needs_field_of_view: Whether batches must contain `field_of_view` and
            `image_field_of_view`.
        pseudo_labels: Class ids of the training images, `[slices, height, width]` uint8 by name of
            the subject, which batches must contain; None if they need not.
        divergence_advice: What a user can change if a loss is no longer finite.
    """

    needs_body_mask = False
    needs_field_of_view = False
    pseudo_labels: Mapping[str, np.ndarray] | None = None
    divergence_advice = "lower the learning rates, or use training.precision=float32"

    def __init__(self, config: ExperimentConfig, num_replicas: int = 1):
        super().__init__(name=type(self).__name__.lower())
        self.config = config
        self.num_replicas = num_replicas
        self.loss_scale = LossScale() if config.training.precision == "mixed_float16" else None
        self._compiled_steps: dict[Hashable, Callable[..., Losses]] = {}
        # `fit` requires it; losses and optimizers belong to the method.
        self.compile(optimizer=None, jit_compile=False)

    @property
    @abstractmethod
    def networks(self) -> Mapping[str, keras.Model]:
        """All networks of a checkpoint, by name."""

    @property
    @abstractmethod
    def network_optimizers(self) -> Mapping[str, keras.optimizers.Optimizer]:
        """The optimizers, by the name of the network that they update."""

    @property
    @abstractmethod
    def painter(self) -> keras.Model:
        """The network that synthesizes images, usually a moving average.

        It is shown in panels, validated, evaluated and exported. `painter(one_hot, noise,
        training=False)` maps `[batch, height, width, num_classes]` and `[batch, *noise_shape]` to
        images `[batch, height, width, channels]` in [-1, 1]. It has two attributes: `noise_shape`,
        the shape of the noise of one image, or None; and `stride`, which must divide the height
        and width of label maps.

        With `config.volumes`, a painter maps volumes `[batch, depth, height, width, num_classes]`
        to volumes, and has a further argument `first_slice` `[batch]` int32, the number of the
        first slice in its volume, so that parts of a volume fit together.
        """

    @property
    def evaluated_networks(self) -> Mapping[str, keras.Model]:
        """Networks that evaluation and export read; `checkpoints/best` contains only these."""
        return self.networks

    @property
    def shown_networks(self) -> Mapping[str, keras.Model]:
        """Networks in the panel, by column title. They are called like `painter`.

        The first is shown with several noises, the others with one.
        """
        return {"EMA": self.painter}

    @property
    def critic(self) -> Callable[..., Any] | None:
        """The network that distinguishes real (logits above 0) from synthetic images, if any."""
        return None

    @property
    def restored_variables(self) -> Sequence[keras.Variable]:
        """Variables that a skipped step has changed, and that get their previous values again.

        Only for a method whose `train_step` reports `SKIPPED` (`methods/nonfinite.py`).
        """
        return ()

    @property
    def step(self) -> tf.Tensor:
        """Number of steps taken, int64. All random numbers of the next step derive from it."""
        first = next(iter(self.network_optimizers.values()))
        return tf.cast(first.iterations.value, tf.int64)

    @abstractmethod
    def train_step(self, batch: Batch, kind: Any = None) -> Losses:
        """Update every network once, on one replica.

        Args:
            batch: `label_map` `[batch, height, width]` integers; `image`
                `[batch, height, width, channels]` in [-1, 1]; `position` `[batch]`, index in the
                global batch; with `needs_body_mask` also `body_mask` `[batch, height, width]` of 0
                and 1; with `needs_field_of_view` also `field_of_view` and `image_field_of_view`
                `[batch, height, width]` of 0 and 1; if there are some also `pseudo_labels`
                `[batch, height, width]` uint8, 255 where hidden; with pairs also `is_paired`
                `[batch]`, whether the image belongs to the label map. With `config.volumes`,
                all but the last have a second axis, of the slices.
            kind: Kind of the step, from `step_kind`.

        Returns:
            Unweighted losses by name. Their mean over the replicas is the loss of the global batch.
            Other measurements of the step have names with a slash, such as `SKIPPED` of
            `methods/nonfinite.py`: 1 if the losses or gradients are not finite.
        """

    def step_kind(self, step: int) -> Hashable:
        """Return the kind of a step, counted from 1. Each kind is compiled once."""
        return None

    @abstractmethod
    def update_averages(self) -> None:
        """Update the moving averages, after each step and outside `strategy.run`."""

    def refresh_painter(self, batch: Batch, pass_number: tf.Tensor) -> None:
        """Update the batch statistics of the painter, if it has any, by a pass in training mode.

        Args:
            batch: As for `train_step`.
            pass_number: Number of the pass, counted from 0; scalar int64.
        """

    def check_jit(self) -> None:
        """Check that XLA can compile the step.

        Raises:
            UserError: It cannot. The message names the setting to change.
        """
        if self.num_replicas > 1:
            raise UserError(
                f"training.jit needs a single device. Received: {self.num_replicas} devices. Set "
                "training.jit=false or training.strategy=one_device."
            )

    def take_step(self, batch: dict[str, tf.Tensor], step: int) -> Losses:
        """Take one compiled step on all replicas.

        Args:
            batch: Global batch, as for `train_step`, without `position`.
            step: Number of the step, counted from 1.

        Returns:
            Losses of the global batch by name.
        """
        kind = self.step_kind(step)
        if kind not in self._compiled_steps:
            self._compiled_steps[kind] = self._compile_step(kind)
        return self._compiled_steps[kind](share_batch(self.distribute_strategy, batch))

    def call(
        self, one_hot: tf.Tensor, noise: tf.Tensor | None = None, training: bool = False
    ) -> tf.Tensor:
        """Synthesize images; see `painter`."""
        return self.painter(one_hot, noise, training=training)

    def make_train_function(self, force: bool = False) -> Callable[[Iterator[Batch]], Losses]:
        """Make `fit` take the same compiled steps as the training loop; see Keras.

        Raises:
            ValueError: There are several replicas. Keras would distribute a batch differently.
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
            before = Snapshot(self.restored_variables)
            losses = run(batch)
            if SKIPPED not in losses:
                self.update_averages()
                return losses
            losses[SKIPPED] = tf.sign(losses[SKIPPED])
            self._finish_step(losses[SKIPPED] == 0, before)
            return losses

        return step

    def _finish_step(self, is_finite: tf.Tensor, before: Snapshot) -> None:
        """Update the averages, or take back what a skipped step has changed."""

        def keep() -> tf.Tensor:
            self.update_averages()
            return tf.constant(True)

        def take_back() -> tf.Tensor:
            before.restore()
            return tf.constant(False)

        tf.cond(is_finite, keep, take_back)
        if self.loss_scale is not None:
            self.loss_scale.update(is_finite)

"""Med-USIS: a generator that is trained with a discriminator and a segmenter."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from medusis_tf.errors import UserError
from medusis_tf.losses.mask import MaskLoss
from medusis_tf.methods.med_usis.config import MedUSISConfig
from medusis_tf.methods.med_usis.draws import Draws
from medusis_tf.methods.med_usis.networks import build_networks, build_optimizers
from medusis_tf.methods.med_usis.objectives import Objectives
from medusis_tf.methods.med_usis.passes import accumulate, make_passes
from medusis_tf.methods.method import Batch, Losses, Method
from medusis_tf.methods.nonfinite import Descent, Gradients
from medusis_tf.methods.random_numbers import Purpose
from medusis_tf.optimizers import ema_decay, update_average


class StepKind(NamedTuple):
    """What a step computes. Each kind is compiled once.

    Attributes:
        regularizes: Whether the step includes the R1 penalty.
        uses_pseudo_labels: Whether it includes the losses with labels found in real images.
    """

    regularizes: bool = True
    uses_pseudo_labels: bool = False


class MedUSIS(Method):
    """Generator, discriminator and segmenter, their optimizers and the training step.

    Training is unsupervised, unless `data.pairing` asks for pairs: label maps and real images need
    not belong together.

    Args:
        config: The experiment.
        num_replicas: Number of replicas that share a global batch.
        air_threshold: Lowest intensity of a body in the real images, in [-1, 1]. The mask loss
            needs it if its threshold is `real_images`.
        class_quantiles: `[num_classes, quantiles]` grey levels of the classes in [-1, 1], which the
            loss `class_quantiles` needs.
        class_counts: `[num_classes]` mean numbers of pixels of the classes in a batch of one
            replica. The segmentation loss is balanced with them; None balances each batch.

    Reference:
        W. Tang, Med-USIS, thesis, University of Stuttgart; Eskandar et al., USIS (2021).
    """

    divergence_advice = (
        "lower the learning rates, raise training.r1.gamma, or use training.precision=float32"
    )

    config: MedUSISConfig

    def __init__(
        self,
        config: MedUSISConfig,
        num_replicas: int = 1,
        air_threshold: float | None = None,
        class_quantiles: np.ndarray | None = None,
        class_counts: np.ndarray | None = None,
    ):
        super().__init__(config, num_replicas)
        self.mask_loss = None
        if config.loss_weights.mask > 0:
            class_names = tuple(entry.name for entry in config.data.classes)
            self.mask_loss = MaskLoss(config.mask_loss, class_names, air_threshold)
            self.needs_body_mask = True
        self.needs_field_of_view = config.training.field_of_view
        self._networks = build_networks(config, synchronized=num_replicas > 1)
        self._optimizers = build_optimizers(config, self._networks)
        self.generator = self._networks["generator"]
        self.ema_generator = self._networks["ema_generator"]
        self.segmenter = self._networks["segmenter"]
        self.ema_segmenter = self._networks.get("ema_segmenter")
        self.discriminator = self._networks["discriminator"]
        self.objectives = Objectives(config, self._networks, self.mask_loss, class_quantiles)
        self._class_counts = class_counts
        self.built = True

    @property
    def networks(self) -> dict[str, keras.Model]:
        """See `Method`."""
        return self._networks

    @property
    def network_optimizers(self) -> dict[str, keras.optimizers.Optimizer]:
        """See `Method`."""
        return self._optimizers

    @property
    def painter(self) -> keras.Model:
        """The EMA generator."""
        return self.ema_generator

    @property
    def evaluated_networks(self) -> dict[str, keras.Model]:
        """The EMA generator and the segmenter."""
        return {"ema_generator": self.ema_generator, "segmenter": self.segmenter}

    @property
    def shown_networks(self) -> dict[str, keras.Model]:
        """The generator and its moving average."""
        return {"synthetic": self.generator, "EMA": self.ema_generator}

    def step_kind(self, step: int) -> StepKind:
        """See `Method`."""
        training = self.config.training
        labels = training.pseudo_labels
        is_due = step > labels.start and step % labels.interval == 0
        return StepKind(
            regularizes=(step - 1) % training.r1.interval == 0,
            uses_pseudo_labels=self.config.uses_pseudo_labels and is_due,
        )

    def check_jit(self) -> None:
        """See `Method`."""
        super().check_jit()
        if self.generator.sparse:
            raise UserError(
                "training.jit needs generator.spade=dense. XLA cannot compile the sparse form: its "
                "tensor shapes depend on the labels."
            )

    def train_step(self, batch: Batch, kind: StepKind | None = None) -> Losses:
        """See `Method`. By default with the R1 penalty and without pseudo-labels."""
        kind = kind or StepKind()
        passes = make_passes(
            self.config, batch, self.step, self._class_counts, self.objectives.class_quantiles
        )
        is_simultaneous = self.config.training.schedule == "simultaneous"
        update = self._update_together if is_simultaneous else self._update_in_turn
        scale = None if self.loss_scale is None else tf.identity(self.loss_scale.scale)
        descent = Descent(self._optimizers, self._networks, self._updates_once, scale)
        losses = update(passes, kind, descent)
        losses |= self._regularize_in_own_step(passes, kind.regularizes, descent)
        return losses | descent.report(self.num_replicas)

    @property
    def critic(self) -> keras.Model:
        """The discriminator."""
        return self.discriminator

    @property
    def restored_variables(self) -> list[keras.Variable]:
        """See `Method`. If a step has several updates, all that they change."""
        trained = [self._networks[name] for name in self._optimizers]
        if self._updates_once:
            return [weight for network in trained for weight in network.non_trainable_weights]
        weights = [weight for network in trained for weight in network.weights]
        optimizers = self._optimizers.values()
        return weights + [v for each in optimizers for v in each.variables[1:]]  # not the counter

    def update_averages(self) -> None:
        """See `Method`."""
        ema = self.config.training.ema
        decay = ema_decay(self.step - 1, ema.decay_per_step, ema.warm_up)
        update_average(self.ema_generator, self.generator, decay)
        if self.ema_segmenter is not None:
            update_average(self.ema_segmenter, self.segmenter, decay)

    def refresh_painter(self, batch: Batch, pass_number: tf.Tensor) -> None:
        """See `Method`."""
        draws = Draws(self.config, pass_number, batch["position"])
        noise = draws.noise(self.generator.noise_shape, Purpose.REFRESH_NOISE)
        self.objectives.paint(self.ema_generator, batch, noise)

    @property
    def _updates_once(self) -> bool:
        """Whether a step updates each network once, all at its end."""
        training = self.config.training
        return training.schedule == "simultaneous" and training.r1.mode == "as_term"

    def _update_together(self, passes: Sequence[Batch], kind: StepKind, descent: Descent) -> Losses:
        """Update all networks with the losses of one synthetic image.

        Generator and segmenter minimise the same segmentation loss, so one backward pass serves
        both. The weight of the loss then scales the gradient of the segmenter too, which does not
        change the steps of Adam.
        """
        gradients, losses = accumulate(passes, functools.partial(self._descents, kind=kind))
        descent.apply(gradients, losses)
        return losses

    def _descents(self, batch: Batch, kind: StepKind) -> tuple[Gradients, Losses]:
        """Gradients and losses of all networks, with one synthetic image of each sample."""
        objectives, discriminator_tape = self.objectives, tf.GradientTape()
        with tf.GradientTape() as tape:
            image, noise = objectives.synthesize(batch, Purpose.GENERATOR_NOISE)
            # The inner tape starts after the generator, so its gradient stops there.
            with discriminator_tape:
                synthetic_logits = objectives.synthetic_logits(batch, image)
            losses = objectives.generator_losses(
                batch, image, noise, synthetic_logits, kind.uses_pseudo_labels
            )
            losses |= objectives.real_segmentation(batch)
            total = objectives.weighted_total(losses)
        networks = {"generator": self.generator, "segmenter": self.segmenter}
        gradients = self._gradients(tape, total, networks)
        # The losses on real images wait for the gradients above: this lowers the peak memory.
        with tf.control_dependencies([tf.group(gradients)]), discriminator_tape:
            discriminator_losses = objectives.discriminator_losses(
                batch, synthetic_logits, kind.regularizes
            )
            discriminator_total = objectives.discriminator_total(discriminator_losses)
        gradients |= self._gradients(
            discriminator_tape, discriminator_total, {"discriminator": self.discriminator}
        )
        return gradients, losses | discriminator_losses

    def _update_in_turn(self, passes: Sequence[Batch], kind: StepKind, descent: Descent) -> Losses:
        """Update generator, segmenter and discriminator in turn, each with a new image."""
        found: Losses = {}
        for descend in (
            self._descent_of_generator,
            self._descent_of_segmenter,
            self._descent_of_discriminator,
        ):
            gradients, losses = accumulate(passes, functools.partial(descend, kind=kind))
            descent.apply(gradients, losses)
            found |= losses
        return found

    def _descent_of_generator(self, batch: Batch, kind: StepKind) -> tuple[Gradients, Losses]:
        objectives = self.objectives
        with tf.GradientTape() as tape:
            image, noise = objectives.synthesize(batch, Purpose.GENERATOR_NOISE)
            synthetic_logits = objectives.synthetic_logits(batch, image)
            losses = objectives.generator_losses(
                batch, image, noise, synthetic_logits, kind.uses_pseudo_labels
            )
            total = objectives.weighted_total(losses)
        return self._gradients(tape, total, {"generator": self.generator}), losses

    def _descent_of_segmenter(self, batch: Batch, kind: StepKind) -> tuple[Gradients, Losses]:
        objectives = self.objectives
        image, _ = objectives.synthesize(batch, Purpose.SEGMENTER_NOISE)
        with tf.GradientTape() as tape:
            losses = objectives.real_segmentation(batch)
            total = objectives.segmentation(batch, image) + objectives.weighted_total(losses)
        return self._gradients(tape, total, {"segmenter": self.segmenter}), losses

    def _descent_of_discriminator(self, batch: Batch, kind: StepKind) -> tuple[Gradients, Losses]:
        objectives = self.objectives
        image, _ = objectives.synthesize(batch, Purpose.DISCRIMINATOR_NOISE)
        with tf.GradientTape() as tape:
            synthetic_logits = objectives.synthetic_logits(batch, image)
            losses = objectives.discriminator_losses(batch, synthetic_logits, kind.regularizes)
            total = objectives.discriminator_total(losses)
        return self._gradients(tape, total, {"discriminator": self.discriminator}), losses

    def _regularize_in_own_step(
        self, passes: Sequence[Batch], regularize: bool, descent: Descent
    ) -> Losses:
        if not regularize or self.config.training.r1.mode == "as_term":
            return {}
        gradients, losses = accumulate(passes, self._descent_of_r1)
        descent.apply(gradients, losses, "_r1")
        return losses

    def _descent_of_r1(self, batch: Batch) -> tuple[Gradients, Losses]:
        with tf.GradientTape() as tape:
            penalty = self.objectives.r1_penalty(batch)
            total = self.config.r1_gamma * penalty
        gradients = self._gradients(tape, total, {"discriminator": self.discriminator})
        return gradients, {"r1": penalty}

    def _gradients(
        self, tape: tf.GradientTape, total: tf.Tensor, networks: dict[str, keras.Model]
    ) -> Gradients:
        """Compute the gradient of a loss with respect to the weights of networks, by their name.

        Those of replicas and passes are summed; the loss of the global batch is their mean.
        """
        weights = {name: network.trainable_variables for name, network in networks.items()}
        scale = tf.constant(
            1.0 / (self.num_replicas * self.config.training.accumulate), total.dtype
        )
        if self.loss_scale is not None:
            scale *= tf.cast(self.loss_scale.scale, total.dtype)
        found = tape.gradient(total, weights, output_gradients=scale)
        filled: Gradients = {}
        for name, variables in weights.items():
            pairs = zip(found[name], variables, strict=True)
            # Zero if the loss does not depend on a weight, as R1 on the last bias. That of a gather
            # is sparse.
            filled[name] = [
                tf.zeros_like(weight) if g is None else tf.convert_to_tensor(g)
                for g, weight in pairs
            ]
        return filled

"""Med-USIS: a generator that is trained with a discriminator and a segmenter."""

import keras
import tensorflow as tf

from medusis_tf.errors import UserError
from medusis_tf.losses.adversarial import (
    discriminator_real_loss,
    discriminator_synthetic_loss,
    generator_adversarial_loss,
    logits_and_r1_penalty,
    r1_penalty,
)
from medusis_tf.losses.diversity import diversity_loss
from medusis_tf.losses.mask import MaskLoss
from medusis_tf.losses.reconstruction import feature_matching_loss, reconstruction_loss
from medusis_tf.losses.segmentation import (
    consistency_loss,
    count_classes,
    entropy_loss,
    segmentation_loss,
)
from medusis_tf.methods.distribution import replica_mean
from medusis_tf.methods.med_usis.config import MedUSISConfig
from medusis_tf.methods.med_usis.draws import Draws
from medusis_tf.methods.med_usis.networks import build_networks, build_optimizers
from medusis_tf.methods.method import Batch, Losses, Method
from medusis_tf.methods.random_numbers import Purpose
from medusis_tf.optimizers import ema_decay, update_average


class MedUSIS(Method):
    """Generator, discriminator and segmenter, their optimizers and the training step.

    Training is unsupervised, unless `data.pairing` asks for pairs: label maps and real images need
    not belong together.

    Args:
        config: The experiment.
        num_replicas: Number of replicas that share a global batch.
        air_threshold: Lowest intensity of a body in the real images, in [-1, 1]. The mask loss
            needs it if its threshold is `real_images`.

    Reference:
        W. Tang, Med-USIS, thesis, University of Stuttgart; Eskandar et al., USIS (2021).
    """

    divergence_advice = (
        "lower the learning rates, raise training.r1.gamma, or use training.precision=float32"
    )

    config: MedUSISConfig

    def __init__(
        self, config: MedUSISConfig, num_replicas: int = 1, air_threshold: float | None = None
    ):
        super().__init__(config, num_replicas)
        self.mask_loss = None
        if config.loss_weights.mask > 0:
            class_names = tuple(entry.name for entry in config.data.classes)
            self.mask_loss = MaskLoss(config.mask_loss, class_names, air_threshold)
            self.needs_body_mask = True
        self._networks = build_networks(config, synchronized=num_replicas > 1)
        self._optimizers = build_optimizers(config, self._networks)
        self.generator = self._networks["generator"]
        self.ema_generator = self._networks["ema_generator"]
        self.segmenter = self._networks["segmenter"]
        self.ema_segmenter = self._networks.get("ema_segmenter")
        self.discriminator = self._networks["discriminator"]
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

    def step_kind(self, step: int) -> bool:
        """Return whether a step includes the R1 penalty."""
        return (step - 1) % self.config.training.r1.interval == 0

    def check_jit(self) -> None:
        """See `Method`."""
        if self.generator.sparse:
            raise UserError(
                "training.jit needs generator.spade=dense. XLA cannot compile the sparse form: its "
                "tensor shapes depend on the labels."
            )

    def train_step(self, batch: Batch, kind: bool = True) -> Losses:
        """See `Method`. `kind` is whether the step includes the R1 penalty."""
        batch = self._add_derived(batch)
        is_simultaneous = self.config.training.schedule == "simultaneous"
        update = self._update_together if is_simultaneous else self._update_in_turn
        return update(batch, kind) | self._regularize_in_own_step(batch, kind)

    def update_averages(self) -> None:
        """See `Method`."""
        ema = self.config.training.ema
        decay = ema_decay(self.step - 1, ema.decay, ema.warm_up)
        update_average(self.ema_generator, self.generator, decay)
        if self.ema_segmenter is not None:
            update_average(self.ema_segmenter, self.segmenter, decay)

    def refresh_painter(self, batch: Batch, pass_number: tf.Tensor) -> None:
        """See `Method`."""
        draws = Draws(self.config, pass_number, batch["position"])
        noise = draws.noise(self.generator.noise_shape, Purpose.REFRESH_NOISE)
        self.ema_generator(self._one_hot(batch["label_map"]), noise, training=True)

    def _update_together(self, batch: Batch, regularize: bool) -> Losses:
        """Update all networks with the losses of one synthetic image.

        Generator and segmenter minimise the same segmentation loss, so one backward pass serves
        both. The weight of the loss then scales the gradient of the segmenter too, which does not
        change the steps of Adam.
        """
        discriminator_tape = tf.GradientTape()
        with tf.GradientTape() as tape:
            image, noise = self._synthesize(batch, Purpose.GENERATOR_NOISE)
            # The inner tape starts after the generator, so its gradient stops there.
            with discriminator_tape:
                synthetic_logits = self._synthetic_logits(batch, image)
            losses = self._generator_losses(batch, image, noise, synthetic_logits)
            losses |= self._real_segmentation(batch)
            total = self._weighted_total(losses)
        networks = {"generator": self.generator, "segmenter": self.segmenter}
        gradients = self._descend(tape, total, networks)
        # The losses on real images wait for the gradients above: this lowers the peak memory.
        with tf.control_dependencies(gradients), discriminator_tape:
            discriminator_losses = self._discriminator_losses(batch, synthetic_logits, regularize)
            discriminator_total = self._discriminator_total(discriminator_losses)
        self._descend(
            discriminator_tape, discriminator_total, {"discriminator": self.discriminator}
        )
        return losses | discriminator_losses

    def _update_in_turn(self, batch: Batch, regularize: bool) -> Losses:
        """Update generator, segmenter and discriminator in turn, each with a new image."""
        with tf.GradientTape() as tape:
            image, noise = self._synthesize(batch, Purpose.GENERATOR_NOISE)
            synthetic_logits = self._synthetic_logits(batch, image)
            losses = self._generator_losses(batch, image, noise, synthetic_logits)
            total = self._weighted_total(losses)
        self._descend(tape, total, {"generator": self.generator})

        image, _ = self._synthesize(batch, Purpose.SEGMENTER_NOISE)
        with tf.GradientTape() as tape:
            real = self._real_segmentation(batch)
            total = self._segmentation_loss(batch, image) + self._weighted_total(real)
        self._descend(tape, total, {"segmenter": self.segmenter})

        image, _ = self._synthesize(batch, Purpose.DISCRIMINATOR_NOISE)
        with tf.GradientTape() as tape:
            synthetic_logits = self._synthetic_logits(batch, image)
            discriminator_losses = self._discriminator_losses(batch, synthetic_logits, regularize)
            total = self._discriminator_total(discriminator_losses)
        self._descend(tape, total, {"discriminator": self.discriminator})
        return losses | real | discriminator_losses

    def _generator_losses(
        self, batch: Batch, image: tf.Tensor, noise: tf.Tensor | None, synthetic_logits: tf.Tensor
    ) -> Losses:
        losses = {
            "adversarial": generator_adversarial_loss(synthetic_logits),
            "segmentation": self._segmentation_loss(batch, image),
        }
        if self.mask_loss is not None:
            losses["mask"] = self.mask_loss(image, batch["body_mask"], batch["label_map"])
        if self.config.loss_weights.diversity > 0:
            other_image, other_noise = self._synthesize(batch, Purpose.DIVERSITY_NOISE)
            losses["diversity"] = diversity_loss(image, other_image, noise, other_noise)
        return losses | self._supervised_losses(batch, image)

    def _supervised_losses(self, batch: Batch, image: tf.Tensor) -> Losses:
        """Compare with the true image, for the samples that have one."""
        losses: Losses = {}
        if "pair_weights" not in batch:
            return losses
        weights, pair_weights = self.config.loss_weights, batch["pair_weights"]
        if weights.reconstruction > 0:
            losses["reconstruction"] = reconstruction_loss(image, batch["image"], pair_weights)
        if weights.feature_matching > 0:
            synthetic, true = (self.discriminator.features(x) for x in (image, batch["image"]))
            losses["feature_matching"] = feature_matching_loss(synthetic, true, pair_weights)
        return losses

    def _weighted_total(self, losses: Losses) -> tf.Tensor:
        """Sum the losses, each times the weight of the same name; 0 without losses."""
        weights = self.config.loss_weights
        terms = [getattr(weights, name) * loss for name, loss in losses.items()]
        return tf.add_n(terms) if terms else tf.constant(0.0)

    def _segmentation_loss(self, batch: Batch, synthetic_image: tf.Tensor) -> tf.Tensor:
        seen = batch["draws"].jitter(synthetic_image, Purpose.SYNTHETIC_JITTER)
        class_logits = self.segmenter(seen, training=True)
        background = self.config.loss_weights.background
        counts = batch["class_counts"]
        return segmentation_loss(class_logits, batch["label_map"], background, counts)

    def _real_segmentation(self, batch: Batch) -> Losses:
        """Compute the loss of the segmenter on real images, if it has a weight."""
        if self.config.loss_weights.real_segmentation == 0:
            return {}
        seen = batch["draws"].jitter(batch["image"], Purpose.REAL_JITTER)
        class_logits = self.segmenter(seen, training=True)
        if self.ema_segmenter is None:
            return {"real_segmentation": entropy_loss(class_logits)}
        teacher_logits = self.ema_segmenter(batch["image"], training=False)
        return {"real_segmentation": consistency_loss(class_logits, teacher_logits)}

    def _discriminator_losses(
        self, batch: Batch, synthetic_logits: tf.Tensor, regularize: bool
    ) -> Losses:
        real_image = batch["draws"].translate(batch["image"], Purpose.REAL_TRANSLATION)
        losses = {"discriminator_synthetic": discriminator_synthetic_loss(synthetic_logits)}
        if regularize and self.config.training.r1.mode == "as_term":
            real_logits, losses["r1"] = logits_and_r1_penalty(self.discriminator, real_image)
        else:
            real_logits = self.discriminator(real_image)
        return losses | {"discriminator_real": discriminator_real_loss(real_logits)}

    def _discriminator_total(self, losses: Losses) -> tf.Tensor:
        r1 = self.config.training.r1
        pair = losses["discriminator_real"] + losses["discriminator_synthetic"]
        penalty = 0.5 * r1.gamma * r1.interval * losses["r1"] if "r1" in losses else 0.0
        return self.config.loss_weights.discriminator * pair + penalty

    def _regularize_in_own_step(self, batch: Batch, regularize: bool) -> Losses:
        r1 = self.config.training.r1
        if not regularize or r1.mode == "as_term":
            return {}
        real_image = batch["draws"].translate(batch["image"], Purpose.REAL_TRANSLATION)
        with tf.GradientTape() as tape:
            penalty = r1_penalty(self.discriminator, real_image)
            total = r1.gamma * penalty
        self._descend(tape, total, {"discriminator": self.discriminator})
        return {"r1": penalty}

    def _descend(
        self, tape: tf.GradientTape, total: tf.Tensor, networks: dict[str, keras.Model]
    ) -> list[tf.Tensor]:
        """Apply the gradient of a loss to the weights of networks, and return it.

        Keras sums the gradients of the replicas; the loss of the global batch is their mean.
        """
        weights = {name: network.trainable_variables for name, network in networks.items()}
        scale = tf.constant(1.0 / self.num_replicas, total.dtype)
        gradients = tape.gradient(total, weights, output_gradients=scale)
        applied = []
        for name, network in networks.items():
            pairs = zip(gradients[name], weights[name], strict=True)
            # Zero if the loss does not depend on a weight, as R1 on the last bias.
            filled = [tf.zeros_like(weight) if g is None else g for g, weight in pairs]
            self._optimizers[name].apply(filled, network.trainable_variables)
            applied += filled
        return applied

    def _synthesize(self, batch: Batch, purpose: Purpose) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Return synthetic images and their noise."""
        noise = batch["draws"].noise(self.generator.noise_shape, purpose)
        return self.generator(batch["one_hot"], noise, training=True), noise

    def _synthetic_logits(self, batch: Batch, synthetic_image: tf.Tensor) -> tf.Tensor:
        shifted = batch["draws"].translate(synthetic_image, Purpose.SYNTHETIC_TRANSLATION)
        return self.discriminator(shifted)

    def _add_derived(self, batch: Batch) -> Batch:
        label_map = tf.cast(batch["label_map"], tf.int32)
        counts = replica_mean(count_classes(label_map, self.config.data.num_classes))
        draws = Draws(self.config, tf.identity(self.step), batch["position"])
        derived = {"label_map": label_map, "class_counts": counts, "draws": draws}
        if "is_paired" in batch:
            is_paired = tf.cast(batch["is_paired"], tf.float32)
            count = replica_mean(tf.reduce_sum(is_paired))
            derived["pair_weights"] = tf.math.divide_no_nan(is_paired, count)
        return {**batch, **derived, "one_hot": self._one_hot(label_map)}

    def _one_hot(self, label_map: tf.Tensor) -> tf.Tensor:
        return tf.one_hot(tf.cast(label_map, tf.int32), self.config.data.num_classes)

"""Med-USIS: a generator that must please a discriminator and be understood by a segmenter."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from medusis_tf.config.experiment import ExperimentConfig
from medusis_tf.losses.adversarial import (
    discriminator_real_loss,
    discriminator_synthetic_loss,
    generator_adversarial_loss,
    r1_penalty,
)
from medusis_tf.losses.segmentation import count_classes, segmentation_loss
from medusis_tf.ops.translation import translate
from medusis_tf.training.distribution import replica_mean
from medusis_tf.training.ema import ema_decay, update_average
from medusis_tf.training.initialization import scale_kernels
from medusis_tf.training.random import Purpose, draw_noise, draw_offsets, step_seed

Batch = dict[str, tf.Tensor]
Losses = dict[str, tf.Tensor]


class MedUSIS(keras.Model):
    """The networks, their optimizers and one training step.

    Make it inside the scope of the distribution strategy. The step is unsupervised: the label
    maps and the real images of a batch need not belong together.

    Args:
        config: The experiment.
        num_replicas: Replicas that share a global batch of `config.training.batch_size`.

    Reference:
        W. Tang, Med-USIS, thesis, University of Stuttgart; Eskandar et al., USIS (2021).
    """

    def __init__(self, config: ExperimentConfig, num_replicas: int = 1):
        super().__init__(name="med_usis")
        self.config = config
        self.num_replicas = num_replicas
        data = config.data
        self.generator = build_generator(config, synchronized=num_replicas > 1)
        self.ema_generator = build_generator(config, synchronized=num_replicas > 1)
        with dtype_policy(config.training.precision):
            self.segmenter = config.segmenter.build(data.num_classes, data.image_channels)
            self.discriminator = config.discriminator.build(data.image_size, data.image_channels)
        image = tf.zeros([config.discriminator.group_size, *data.image_size, data.image_channels])
        self.segmenter(image[:1])
        self.discriminator(image)
        for network in (self.generator, self.segmenter):
            scale_kernels(network, config.training.initial_gain)
        self.ema_generator.set_weights(self.generator.get_weights())
        self._build_optimizers()
        self.built = True

    @property
    def step(self) -> tf.Tensor:
        """Number of steps taken, int64: all random numbers of the next step derive from it."""
        return tf.cast(self.generator_optimizer.iterations.value, tf.int64)

    def train_step(self, batch: Batch, regularize: bool = True) -> Losses:
        """Update every network once.

        Args:
            batch: `label_map` `[batch, height, width]` integers, `image`
                `[batch, height, width, channels]` in [-1, 1], `position` `[batch]`; from
                `distribution.share_batch`.
            regularize: Whether this step takes the R1 penalty.

        Returns:
            Unweighted losses by name, this replica's share: their mean over replicas is the loss
            of the global batch.
        """
        batch = self._add_derived(batch)
        if self.config.training.schedule == "simultaneous":
            return self._update_together(batch, regularize)
        return self._update_in_turn(batch, regularize)

    def update_ema(self) -> None:
        """Move the EMA generator; call it outside `strategy.run`, after the step."""
        ema = self.config.training.ema
        decay = ema_decay(self.step - 1, ema.decay, ema.warm_up)
        update_average(self.ema_generator, self.generator, decay)

    def refresh_ema(self, batch: Batch, pass_number: tf.Tensor) -> None:
        """Renew the EMA generator's batch statistics by one forward pass in training mode."""
        one_hot = self._one_hot(batch["label_map"])
        noise = self._noise(batch, pass_number, Purpose.REFRESH_NOISE)
        self.ema_generator(one_hot, noise, training=True)

    def _update_together(self, batch: Batch, regularize: bool) -> Losses:
        """One synthetic image serves all losses.

        Generator and segmenter descend the same segmentation loss, so one backward pass serves
        both; the segmenter's gradient then carries that loss's weight, which Adam's step does not
        see.
        """
        with tf.GradientTape() as tape:
            synthetic_image = self._synthesize(batch, Purpose.GENERATOR_NOISE)
            # The inner tape begins behind the generator, so its gradient stops there.
            with tf.GradientTape() as discriminator_tape:
                synthetic_logits = self._judge_synthetic(batch, synthetic_image)
                losses = self._discriminator_losses(batch, synthetic_logits, regularize)
                discriminator_total = self._discriminator_total(losses)
            adversarial = generator_adversarial_loss(synthetic_logits)
            segmentation = self._segmentation_loss(batch, synthetic_image)
            total = self._generator_total(adversarial, segmentation)
        self._descend(tape, total, {"generator": self.generator, "segmenter": self.segmenter})
        self._descend(
            discriminator_tape, discriminator_total, {"discriminator": self.discriminator}
        )
        losses.update(adversarial=adversarial, segmentation=segmentation)
        return losses | self._regularize_in_own_step(batch, regularize)

    def _update_in_turn(self, batch: Batch, regularize: bool) -> Losses:
        """Generator, segmenter and discriminator in turn, each with a new synthetic image."""
        with tf.GradientTape() as tape:
            synthetic_image = self._synthesize(batch, Purpose.GENERATOR_NOISE)
            adversarial = generator_adversarial_loss(self._judge_synthetic(batch, synthetic_image))
            segmentation = self._segmentation_loss(batch, synthetic_image)
            total = self._generator_total(adversarial, segmentation)
        self._descend(tape, total, {"generator": self.generator})

        synthetic_image = self._synthesize(batch, Purpose.SEGMENTER_NOISE)
        with tf.GradientTape() as tape:
            total = self._segmentation_loss(batch, synthetic_image)
        self._descend(tape, total, {"segmenter": self.segmenter})

        synthetic_image = self._synthesize(batch, Purpose.DISCRIMINATOR_NOISE)
        with tf.GradientTape() as tape:
            synthetic_logits = self._judge_synthetic(batch, synthetic_image)
            losses = self._discriminator_losses(batch, synthetic_logits, regularize)
            total = self._discriminator_total(losses)
        self._descend(tape, total, {"discriminator": self.discriminator})
        losses.update(adversarial=adversarial, segmentation=segmentation)
        return losses | self._regularize_in_own_step(batch, regularize)

    def _generator_total(self, adversarial: tf.Tensor, segmentation: tf.Tensor) -> tf.Tensor:
        # The mask loss will join here, as a third weighted term.
        weights = self.config.loss_weights
        return weights.adversarial * adversarial + weights.segmentation * segmentation

    def _segmentation_loss(self, batch: Batch, synthetic_image: tf.Tensor) -> tf.Tensor:
        class_logits = self.segmenter(synthetic_image, training=True)
        background = self.config.loss_weights.background
        counts = batch["class_counts"]
        return segmentation_loss(class_logits, batch["label_map"], background, counts)

    def _discriminator_losses(
        self, batch: Batch, synthetic_logits: tf.Tensor, regularize: bool
    ) -> Losses:
        real_image = self._translate(batch, batch["image"], Purpose.REAL_TRANSLATION)
        losses = {
            "discriminator_real": discriminator_real_loss(self.discriminator(real_image)),
            "discriminator_synthetic": discriminator_synthetic_loss(synthetic_logits),
        }
        if regularize and self.config.training.r1.mode == "as_term":
            losses["r1"] = r1_penalty(self.discriminator, real_image)
        return losses

    def _discriminator_total(self, losses: Losses) -> tf.Tensor:
        r1 = self.config.training.r1
        pair = losses["discriminator_real"] + losses["discriminator_synthetic"]
        penalty = 0.5 * r1.gamma * r1.interval * losses["r1"] if "r1" in losses else 0.0
        return self.config.loss_weights.discriminator * pair + penalty

    def _regularize_in_own_step(self, batch: Batch, regularize: bool) -> Losses:
        r1 = self.config.training.r1
        if not regularize or r1.mode == "as_term":
            return {}
        real_image = self._translate(batch, batch["image"], Purpose.REAL_TRANSLATION)
        with tf.GradientTape() as tape:
            penalty = r1_penalty(self.discriminator, real_image)
            total = r1.gamma * penalty
        self._descend(tape, total, {"discriminator": self.discriminator})
        return {"r1": penalty}

    def _descend(
        self, tape: tf.GradientTape, total: tf.Tensor, networks: dict[str, keras.Model]
    ) -> None:
        """Apply the gradient of a loss to the weights of one or more networks.

        Keras sums gradients over the replicas; the loss of the global batch is their mean.
        """
        weights = {name: network.trainable_variables for name, network in networks.items()}
        scale = tf.constant(1.0 / self.num_replicas, total.dtype)
        gradients = tape.gradient(total, weights, output_gradients=scale)
        for name, network in networks.items():
            pairs = zip(gradients[name], weights[name], strict=True)
            # Zero where a loss cannot move a weight: the R1 penalty does not see the last bias.
            filled = [tf.zeros_like(weight) if g is None else g for g, weight in pairs]
            getattr(self, f"{name}_optimizer").apply(filled, network.trainable_variables)

    def _synthesize(self, batch: Batch, purpose: Purpose) -> tf.Tensor:
        noise = self._noise(batch, batch["step"], purpose)
        return self.generator(batch["one_hot"], noise, training=True)

    def _judge_synthetic(self, batch: Batch, synthetic_image: tf.Tensor) -> tf.Tensor:
        shifted = self._translate(batch, synthetic_image, Purpose.SYNTHETIC_TRANSLATION)
        return self.discriminator(shifted)

    def _translate(self, batch: Batch, images: tf.Tensor, purpose: Purpose) -> tf.Tensor:
        """Shift what the discriminator sees, real and synthetic alike, so that few images last."""
        fraction = self.config.training.discriminator_translation
        height, width = self.config.data.image_size
        limits = (int(fraction * height), int(fraction * width))
        if not any(limits):
            return images
        seed = step_seed(self.config.seed, batch["step"], purpose)
        size = self.config.training.batch_size
        return translate(images, draw_offsets(seed, batch["position"], size, limits))

    def _noise(self, batch: Batch, step: tf.Tensor, purpose: Purpose) -> tf.Tensor | None:
        noise_dim = self.config.generator.noise_dim
        if noise_dim == 0:
            return None
        seed = step_seed(self.config.seed, step, purpose)
        return draw_noise(seed, batch["position"], self.config.training.batch_size, noise_dim)

    def _add_derived(self, batch: Batch) -> Batch:
        label_map = tf.cast(batch["label_map"], tf.int32)
        counts = replica_mean(count_classes(label_map, self.config.data.num_classes))
        derived = {"label_map": label_map, "class_counts": counts, "step": tf.identity(self.step)}
        return {**batch, **derived, "one_hot": self._one_hot(label_map)}

    def _one_hot(self, label_map: tf.Tensor) -> tf.Tensor:
        return tf.one_hot(tf.cast(label_map, tf.int32), self.config.data.num_classes)

    def _build_optimizers(self) -> None:
        # Before the first step: an optimizer that builds itself inside one fails on two replicas.
        for name in ("generator", "segmenter", "discriminator"):
            optimizer = getattr(self.config.optimizers, name).build(f"{name}_optimizer")
            optimizer.build(getattr(self, name).trainable_variables)
            setattr(self, f"{name}_optimizer", optimizer)


def build_generator(config: ExperimentConfig, synchronized: bool) -> keras.Model:
    """The generator of an experiment, with all its weights."""
    data, noise_dim = config.data, config.generator.noise_dim
    with dtype_policy(config.training.precision):
        generator = config.generator.build(data.num_classes, data.image_channels, synchronized)
    one_hot = tf.zeros([1, *data.image_size, data.num_classes])
    generator(one_hot, tf.zeros([1, noise_dim]) if noise_dim else None)
    return generator


@contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Build networks under a Keras dtype policy, and put the old one back."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)

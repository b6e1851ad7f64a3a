"""The losses of one Med-USIS step: what each network minimises."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from medusis_tf.errors import UserError
from medusis_tf.losses.adversarial import (
    discriminator_real_loss,
    discriminator_synthetic_loss,
    generator_adversarial_loss,
    logits_and_r1_penalty,
    r1_penalty,
    share_of_real,
)
from medusis_tf.losses.class_statistics import ClassTextureLoss, class_quantile_loss
from medusis_tf.losses.diversity import diversity_loss
from medusis_tf.losses.mask import AIR, MaskLoss
from medusis_tf.losses.reconstruction import feature_matching_loss, reconstruction_loss
from medusis_tf.losses.segmentation import (
    consistency_loss,
    entropy_loss,
    segmentation_loss,
)
from medusis_tf.methods.med_usis.config import MedUSISConfig
from medusis_tf.methods.method import Batch, Losses
from medusis_tf.methods.random_numbers import Purpose
from medusis_tf.ops.field_of_view import continue_labels
from medusis_tf.ops.replicas import gathered_batch


class Objectives:
    """Losses of generator, segmenter and discriminator on a batch with its derived tensors.

    A batch has the tensors of `Method.train_step` and those that `MedUSIS` derives from them:
    `class_counts`, `draws`, `ramp` and, with pairs, `pair_weights`. Losses are unweighted, by the
    name of their weight in `loss_weights`.

    Args:
        config: The experiment.
        networks: The networks by name, as in `MedUSIS.networks`.
        mask_loss: The mask loss; None without.
        class_quantiles: `[num_classes, quantiles]`, grey levels that the classes should have; None
            without the loss `class_quantiles`.

    Raises:
        UserError: No features are coarse enough for `training.pseudo_labels.finest_features`.
    """

    def __init__(
        self,
        config: MedUSISConfig,
        networks: Mapping[str, keras.Model],
        mask_loss: MaskLoss | None,
        class_quantiles: np.ndarray | None,
    ):
        self.config = config
        self.networks = networks
        self.mask_loss = mask_loss
        self.class_quantiles = class_quantiles
        self.class_texture = None
        if config.loss_weights.class_texture > 0:
            self.class_texture = ClassTextureLoss(config.data.num_classes)
        if config.loss_weights.pseudo_feature_matching > 0:
            self._check_finest_features()

    def synthesize(
        self, batch: Batch, purpose: Purpose, pseudo_labels: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Synthesize images of the label maps, or of pseudo-labels of the real images.

        Labels continue beyond the field of view, so that no outline is painted there.

        Returns:
            The images, with air outside the field of view if `training.field_of_view` is set; and
            their noise.
        """
        generator = self.networks["generator"]
        noise = batch["draws"].noise(generator.noise_shape, purpose)
        is_zero = self.config.training.pseudo_labels.noise == "zero"
        if pseudo_labels is not None and noise is not None and is_zero:
            noise = tf.zeros_like(noise)
        image = self.paint(generator, batch, noise, pseudo_labels)
        if not self.config.training.field_of_view:
            return image, noise
        view = batch["field_of_view" if pseudo_labels is None else "image_field_of_view"]
        return tf.where(view[..., tf.newaxis] > 0, image, AIR), noise

    def paint(
        self,
        generator: keras.Model,
        batch: Batch,
        noise: tf.Tensor | None,
        pseudo_labels: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Call a generator in training mode, with the labels as `synthesize` describes."""
        label_map, view = batch["label_map"], batch.get("field_of_view")
        if pseudo_labels is not None:
            label_map, view = pseudo_labels, batch.get("image_field_of_view")
        if pseudo_labels is not None or "label_context" not in batch:
            return generator(self.one_hot(label_map, view), noise, training=True)
        label_map = batch["label_context"]
        if view is not None:  # the same for all slices of a sample
            view = tf.repeat(view[:, :1], label_map.shape[1], axis=1)
        return generator(self.one_hot(label_map, view), noise, training=True, has_margin=True)

    def one_hot(self, label_map: tf.Tensor, field_of_view: tf.Tensor | None = None) -> tf.Tensor:
        """One-hot labels, which continue beyond the field of view."""
        if field_of_view is not None:
            label_map = continue_labels(label_map, field_of_view)
        return tf.one_hot(tf.cast(label_map, tf.int32), self.config.data.num_classes)

    def synthetic_logits(self, batch: Batch, synthetic_image: tf.Tensor) -> tf.Tensor:
        """Compute the logits of synthetic images, shifted at random."""
        shifted = batch["draws"].translate(synthetic_image, Purpose.SYNTHETIC_TRANSLATION)
        return self.networks["discriminator"](shifted)

    def generator_losses(
        self,
        batch: Batch,
        image: tf.Tensor,
        noise: tf.Tensor | None,
        synthetic_logits: tf.Tensor,
        uses_pseudo_labels: bool,
    ) -> Losses:
        """Compute all losses of the generator.

        Args:
            batch: Batch with its derived tensors.
            image: Synthetic images of the label maps.
            noise: Noise of these images.
            synthetic_logits: Logits of these images.
            uses_pseudo_labels: Whether the losses with labels found in real images are computed.
        """
        weights = self.config.loss_weights
        losses = {
            "adversarial": generator_adversarial_loss(synthetic_logits),
            "segmentation": self.segmentation(batch, image),
        }
        if self.mask_loss is not None:
            losses["mask"] = self._mask(image, batch["body_mask"], batch["label_map"])
        if weights.class_quantiles > 0:
            losses["class_quantiles"] = class_quantile_loss(
                image,
                batch["label_map"],
                self.class_quantiles,
                batch.get("field_of_view"),
                self.config.training.class_spread,
                total=batch["compared_classes"],
            )
        if weights.diversity > 0:
            other_image, other_noise = self.synthesize(batch, Purpose.DIVERSITY_NOISE)
            losses["diversity"] = diversity_loss(image, other_image, noise, other_noise)
        if uses_pseudo_labels:
            losses |= self._pseudo_label_losses(batch, image)
        return losses | self._supervised_losses(batch, image)

    def _mask(self, image: tf.Tensor, body_mask: tf.Tensor, label_map: tf.Tensor) -> tf.Tensor:
        """Compare outlines: those of slices, or with 3D networks of volumes."""
        if self.mask_loss is None:
            raise ValueError("the mask loss has no weight")
        given = (image, body_mask, label_map)
        if self.config.volumes is not None and self.config.volumes.networks == "2.5d":
            given = tuple(tf.reshape(each, [-1, *each.shape[2:]]) for each in given)
        return self.mask_loss(*given)

    def segmentation(self, batch: Batch, synthetic_image: tf.Tensor) -> tf.Tensor:
        """Compute the loss of finding the label map again in jittered synthetic images."""
        seen = batch["draws"].jitter(synthetic_image, Purpose.SYNTHETIC_JITTER)
        class_logits = self.networks["segmenter"](seen, training=True)
        background = self.config.loss_weights.background
        counts = batch["class_counts"]
        return segmentation_loss(class_logits, batch["label_map"], background, counts)

    def real_segmentation(self, batch: Batch) -> Losses:
        """Compute the loss of the segmenter on real images, if it has a weight."""
        if self.config.loss_weights.real_segmentation == 0:
            return {}
        seen = batch["draws"].jitter(batch["image"], Purpose.REAL_JITTER)
        class_logits = self.networks["segmenter"](seen, training=True)
        if not self.config.learns_consistency:
            return {"real_segmentation": entropy_loss(class_logits)}
        teacher_logits = self.networks["ema_segmenter"](batch["image"], training=False)
        return {"real_segmentation": consistency_loss(class_logits, teacher_logits)}

    def weighted_total(self, losses: Losses) -> tf.Tensor:
        """Sum the losses, each times the weight of the same name; 0 without losses."""
        weights = self.config.loss_weights
        terms = [getattr(weights, name) * loss for name, loss in losses.items()]
        return tf.add_n(terms) if terms else tf.constant(0.0)

    def discriminator_losses(
        self, batch: Batch, synthetic_logits: tf.Tensor, regularize: bool
    ) -> Losses:
        """Compute the losses of the discriminator, with the R1 penalty where it is a term.

        The shares of images that it classifies correctly have names with `accuracy/`.
        """
        discriminator = self.networks["discriminator"]
        real_image = batch["draws"].translate(batch["image"], Purpose.REAL_TRANSLATION)
        losses = {
            "discriminator_synthetic": discriminator_synthetic_loss(synthetic_logits),
            "accuracy/synthetic": 1.0 - share_of_real(synthetic_logits),
        }
        if regularize and self.config.training.r1.mode == "as_term":
            real_logits, losses["r1"] = logits_and_r1_penalty(discriminator, real_image)
        else:
            real_logits = discriminator(real_image)
        losses["accuracy/real"] = share_of_real(real_logits)
        return losses | {"discriminator_real": discriminator_real_loss(real_logits)}

    def discriminator_total(self, losses: Losses) -> tf.Tensor:
        """Sum the weighted losses of the discriminator."""
        r1 = self.config.training.r1
        pair = losses["discriminator_real"] + losses["discriminator_synthetic"]
        gamma = self.config.r1_gamma
        penalty = 0.5 * gamma * r1.interval * losses["r1"] if "r1" in losses else 0.0
        return self.config.loss_weights.discriminator * pair + penalty

    def r1_penalty(self, batch: Batch) -> tf.Tensor:
        """Compute the R1 penalty of the step that consists of it alone."""
        real_image = batch["draws"].translate(batch["image"], Purpose.REAL_TRANSLATION)
        return r1_penalty(self.networks["discriminator"], real_image)

    def _supervised_losses(self, batch: Batch, image: tf.Tensor) -> Losses:
        """Compare with the true image, for the samples that have one."""
        if "pair_weights" not in batch:
            return {}
        losses: Losses = {}
        weights, pair_weights = self.config.loss_weights, batch["pair_weights"]
        if weights.reconstruction > 0:
            losses["reconstruction"] = reconstruction_loss(image, batch["image"], pair_weights)
        if weights.feature_matching > 0:
            losses["feature_matching"] = self._feature_matching(image, batch["image"], pair_weights)
        return losses

    def _pseudo_label_losses(self, batch: Batch, image: tf.Tensor) -> Losses:
        """Label the real images, synthesize them again, and compare with them.

        All losses are multiplied by the ramp. The segmenter's moving average finds the labels: a
        single iterate may lose a class for some steps.
        """
        weights, ramp, losses = self.config.loss_weights, batch["ramp"], {}
        logits = self.networks["ema_segmenter"](batch["image"], training=False)
        labels = tf.argmax(tf.stop_gradient(logits)[..., 1:], axis=-1, output_type=tf.int32)
        if self.class_texture is not None:
            losses["class_texture"] = ramp * self._class_texture(batch, image, labels)
        if weights.pseudo_reconstruction + weights.pseudo_feature_matching == 0:
            return losses
        painted, _ = self.synthesize(batch, Purpose.PSEUDO_PAIR_NOISE, labels)
        size = tf.shape(painted)[0]
        samples = tf.fill([size], 1.0 / tf.cast(size, tf.float32))
        if weights.pseudo_reconstruction > 0:
            difference = reconstruction_loss(painted, batch["image"], samples)
            losses["pseudo_reconstruction"] = ramp * difference
        if weights.pseudo_feature_matching > 0:
            finest = self.config.training.pseudo_labels.finest_features
            difference = self._feature_matching(painted, batch["image"], samples, finest)
            losses["pseudo_feature_matching"] = ramp * difference
        return losses

    def _class_texture(self, batch: Batch, image: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Compare textures. Each class is sampled from the images of all replicas together."""
        if self.class_texture is None:
            raise ValueError("the loss class_texture has no weight")
        image, label_map, real, labels = (
            gathered_batch(each) for each in (image, batch["label_map"], batch["image"], labels)
        )
        return self.class_texture(image, self.one_hot(label_map), real, self.one_hot(labels))

    def _check_finest_features(self) -> None:
        config, finest = self.config, self.config.training.pseudo_labels.finest_features
        depth = [] if config.volumes is None else [config.volumes.depth]
        size = [1, *depth, *config.data.image_size, config.data.image_channels]
        maps = self.networks["discriminator"].features(tf.zeros(size))
        coarsest = config.data.image_size[0] // min(each.shape[-3] for each in maps)
        if finest > coarsest:
            raise UserError(
                f"training.pseudo_labels.finest_features must be at most {coarsest}, the factor by "
                f"which the discriminator reduces the resolution. Received: {finest}."
            )

    def _feature_matching(
        self, image: tf.Tensor, true_image: tf.Tensor, sample_weights: tf.Tensor, finest: int = 1
    ) -> tf.Tensor:
        """Compare features; those with more than 1 / `finest` of the rows are left out."""
        rows = image.shape[-3] // finest
        synthetic, true = (
            [each for each in self.networks["discriminator"].features(x) if each.shape[-3] <= rows]
            for x in (image, true_image)
        )
        # A volume may be seen as several images.
        times = synthetic[0].shape[0] // image.shape[0]
        if times > 1:
            sample_weights = tf.repeat(sample_weights / times, times)
        return feature_matching_loss(synthetic, true, sample_weights)

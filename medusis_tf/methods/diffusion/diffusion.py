"""Diffusion: a denoiser of real images, with which label maps are painted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from medusis_tf.appearance.painting import known_means
from medusis_tf.data.batches.dataset import HIDDEN
from medusis_tf.layers.dtype_policy import dtype_policy
from medusis_tf.methods.air_threshold import mask_threshold
from medusis_tf.methods.diffusion.config import DiffusionConfig
from medusis_tf.methods.diffusion.guides import Guides, segmenter_loss
from medusis_tf.methods.diffusion.painter import DiffusionPainter, condition_of, tissue_table
from medusis_tf.methods.method import Batch, Losses, Method
from medusis_tf.methods.nonfinite import Descent
from medusis_tf.methods.random_numbers import Purpose, draw_noise, step_seed
from medusis_tf.ops.edm import draw_levels, loss_weight
from medusis_tf.ops.field_of_view import continue_labels
from medusis_tf.ops.haar import haar_analysis, haar_synthesis
from medusis_tf.optimizers import ema_decay, update_average

if TYPE_CHECKING:
    from medusis_tf.config.optimization import AdamConfig
    from medusis_tf.data.shards.shards import Shards
    from medusis_tf.models.segmenters.unet import UNetSegmenter

# Bands of images without texture must not get a deviation of 0.
_LEAST_DEVIATION = 0.01
_SLICES_TO_MEASURE = 256


def build_painter(config: DiffusionConfig) -> DiffusionPainter:
    """Build the painter of an experiment, with new weights."""
    data, guides = config.data, None
    channels = 0 if config.condition.source == "none" else 4 * data.num_classes
    with dtype_policy(config.training.precision):
        denoiser = config.denoiser.build(data.image_channels, channels)
        if config.guides is not None:
            names = tuple(entry.name for entry in data.classes)
            guides = Guides(config.guides, names, data.image_channels)
    noise_length = 0.0 if config.volumes is None else config.volumes.noise_length
    highest_level = config.noise_levels.highest
    return DiffusionPainter(
        denoiser, data.num_classes, config.sampler, noise_length, guides, highest_level
    )


def build_segmenter(config: DiffusionConfig) -> UNetSegmenter | None:
    """Build the guiding segmenter that an experiment trains, with new weights; None without."""
    if config.guides is None or config.guides.segmenter is None:
        return None
    with dtype_policy(config.training.precision):
        return config.guides.segmenter.build(config.data.num_classes, config.data.image_channels)


class Diffusion(Method):
    """A denoiser, its moving average with the grey levels of the classes, and the training step.

    Training sees real images only. Their labels, for the condition or a guiding segmenter, are
    those of the appearance of the classes, or with `condition.source: labels` the true ones. The
    segmenter learns from the denoiser's estimates, and the denoiser nothing from the segmenter.

    Args:
        config: The experiment.
        shards: Its prepared slices, from which the appearance of the classes is estimated.
        num_replicas: Number of replicas that share a global batch.

    Reference:
        Karras et al. 2022, https://arxiv.org/abs/2206.00364; the start from painted labels is that
        of SDEdit, https://arxiv.org/abs/2108.01073.
    """

    divergence_advice = "lower optimizer.learning_rate, or use training.precision=float32"

    config: DiffusionConfig

    def __init__(self, config: DiffusionConfig, shards: Shards, num_replicas: int = 1):
        super().__init__(config, num_replicas)
        self.needs_field_of_view = config.training.field_of_view
        self._trained = build_painter(config.model_copy(update={"guides": None}))
        self._painter = build_painter(config)
        self.denoiser, self.segmenter = self._trained.denoiser, build_segmenter(config)
        for average, network in self._averages:
            average.set_weights(network.get_weights())
        self._prepare(shards)
        self._optimizers = {"trained": self._build_optimizer("denoiser", config.optimizer)}
        if config.guides is not None and self.segmenter is not None:
            optimizer = self._build_optimizer("segmenter", config.guides.optimizer)
            self._optimizers["segmenter"] = optimizer
        for name, optimizer in self._optimizers.items():
            optimizer.build(self.networks[name].trainable_variables)
        self.built = True

    def _build_optimizer(self, network: str, section: AdamConfig) -> keras.optimizers.Optimizer:
        training = self.config.training
        name = f"{network}_optimizer"
        return section.build(name, training.learning_rate_decay, training.steps)

    @property
    def networks(self) -> dict[str, keras.Model]:
        """See `Method`."""
        found = {"trained": self._trained, "painter": self._painter}
        return found if self.segmenter is None else found | {"segmenter": self.segmenter}

    @property
    def _averages(self) -> list[tuple[keras.Model, keras.Model]]:
        """Moving averages in the painter, each with its network."""
        pairs: list[tuple[keras.Model, keras.Model]] = [(self._painter.denoiser, self.denoiser)]
        guides = self._painter.guides
        if guides is not None and guides.segmenter is not None and self.segmenter is not None:
            pairs.append((guides.segmenter, self.segmenter))
        return pairs

    @property
    def network_optimizers(self) -> dict[str, keras.optimizers.Optimizer]:
        """See `Method`."""
        return self._optimizers

    @property
    def painter(self) -> keras.Model:
        """The painter with the moving average of the denoiser."""
        return self._painter

    @property
    def evaluated_networks(self) -> dict[str, keras.Model]:
        """The painter, and the segmenter if there is one."""
        return {name: each for name, each in self.networks.items() if name != "trained"}

    @property
    def restored_variables(self) -> list[keras.Variable]:
        """See `Method`: the spectral norms of the segmenter, which its forward pass updates."""
        return [] if self.segmenter is None else self.segmenter.non_trainable_weights

    def train_step(self, batch: Batch, kind: Any = None) -> Losses:
        """See `Method`."""
        image, view = batch["image"], batch.get("image_field_of_view")
        if view is not None:
            image = continue_labels(image, view)
        bands = haar_analysis(image)
        sigma = self._levels(batch["position"])
        shape = (*self.config.data.image_size, self.config.data.image_channels)
        noise = haar_analysis(self._draw(Purpose.DIFFUSION_NOISE, batch["position"], shape))
        noisy = bands + sigma[:, tf.newaxis, tf.newaxis, tf.newaxis] * noise
        shown = self._shown_labels(batch, view)
        condition = self._condition(shown, batch["position"])
        if shown is not None and view is not None:  # the segmenter learns only what was scanned
            shown *= tf.cast(view, tf.float32)[..., tf.newaxis]
        descent = Descent(self._optimizers, self.networks, gates=True)
        with tf.GradientTape() as tape:
            found = self.denoiser(noisy, sigma, condition, training=True)
            losses = {"denoising": self._loss(found, bands, sigma, view)}
            if self.segmenter is not None:
                estimate = tf.stop_gradient(haar_synthesis(found))
                losses["segmentation"] = segmenter_loss(self.segmenter, estimate, shown, True)
            total = tf.add_n(list(losses.values()))
        weights = {name: self.networks[name].trainable_variables for name in self._optimizers}
        gradients = tape.gradient(total, weights, output_gradients=1.0 / self.num_replicas)
        descent.apply(gradients, losses)
        return losses | descent.report(self.num_replicas)

    def update_averages(self) -> None:
        """See `Method`."""
        ema = self.config.training.ema
        decay = ema_decay(self.step - 1, ema.decay_per_step, ema.warm_up)
        for average, network in self._averages:
            update_average(average, network, decay)

    def refresh_painter(self, batch: Batch, pass_number: tf.Tensor) -> None:
        """See `Method`."""
        guides = self._painter.guides
        if guides is not None and guides.segmenter is not None:
            guides.segmenter(batch["image"], training=True)

    def _levels(self, position: tf.Tensor) -> tf.Tensor:
        """Noise level of each sample, `[batch]`."""
        levels, size = self.config.noise_levels, self.config.training.batch_size
        uniform = tf.random.stateless_uniform([size], self._seed(Purpose.NOISE_LEVEL))
        return draw_levels(
            tf.gather(uniform, position),
            levels.mean,
            levels.deviation,
            levels.lowest,
            levels.highest,
        )

    @property
    def _needs_pseudo_labels(self) -> bool:
        source = self.config.condition.source
        return source == "pseudo_labels" or (source == "none" and self.segmenter is not None)

    def _shown_labels(self, batch: Batch, view: tf.Tensor | None) -> tf.Tensor | None:
        """Labels of the real images, `[batch, height, width, num_classes]`; None if unused."""
        settings = self.config.condition
        if settings.source != "labels" and not self._needs_pseudo_labels:
            return None
        name = "label_map" if settings.source == "labels" else "pseudo_labels"
        labels = tf.cast(batch[name], tf.int32)
        if view is not None:
            labels = continue_labels(labels, view)
        # Hidden labels are no class: all zero.
        return self._trained.shown(tf.one_hot(labels, self.config.data.num_classes))

    def _condition(self, shown: tf.Tensor | None, position: tf.Tensor) -> tf.Tensor | None:
        """What the denoiser sees of the labels of the real images."""
        settings = self.config.condition
        if shown is None or settings.source == "none":
            return None
        size = self.config.training.batch_size
        uniform = tf.random.stateless_uniform([size], self._seed(Purpose.CONDITION_DROPOUT))
        is_shown = tf.gather(uniform, position) >= settings.dropout
        return condition_of(
            shown * tf.cast(is_shown, tf.float32)[:, tf.newaxis, tf.newaxis, tf.newaxis]
        )

    def _loss(
        self, found: tf.Tensor, bands: tf.Tensor, sigma: tf.Tensor, view: tf.Tensor | None
    ) -> tf.Tensor:
        """Weighted squared error; what lies outside the field of view does not count."""
        deviations = tf.convert_to_tensor(self.denoiser.deviations)
        errors = loss_weight(sigma, deviations) * tf.square(found - bands)
        if view is None:
            return tf.reduce_mean(errors)
        cells = tf.nn.space_to_depth(tf.cast(view, tf.float32)[..., tf.newaxis], 2)
        inside = tf.reduce_min(cells, axis=-1, keepdims=True)
        shares = tf.reduce_mean(inside, axis=(1, 2, 3))
        means = tf.reduce_mean(inside * errors, axis=(1, 2, 3))
        return tf.reduce_mean(tf.math.divide_no_nan(means, shares))

    def _draw(self, purpose: Purpose, position: tf.Tensor, shape: tuple[int, ...]) -> tf.Tensor:
        size = self.config.training.batch_size
        return draw_noise(self._seed(purpose), position, size, shape)

    def _seed(self, purpose: Purpose) -> tf.Tensor:
        return step_seed(self.config.seed, self.step, purpose)

    def _prepare(self, shards: Shards) -> None:
        """Give both networks what is known of the data: grey levels, tissues, deviations."""
        from medusis_tf.appearance.estimation import load_or_estimate

        appearance = load_or_estimate(self.config, shards)
        deviations = band_deviations(shards, self.config.data.image_channels)
        tissues = [each.tissue for each in appearance.classes]
        if self.config.condition.source == "labels":
            tissues = [each.name for each in appearance.classes]
        if (guides := self._painter.guides) is not None and guides.config.mask > 0:
            threshold = mask_threshold(guides.config.mask_loss, shards, "guides.mask_loss")
            guides.air_threshold.assign(threshold or 0.0)
        for network in (self._trained, self._painter):
            network.class_means.assign(known_means(appearance))
            network.tissue_of_class.assign(tissue_table(tissues))
            network.denoiser.deviations.assign(deviations)
        if self._needs_pseudo_labels:
            least = self.config.condition.certainty
            self.pseudo_labels = {
                name: np.where(each.certainty >= least, each.labels, HIDDEN)
                for name, each in appearance.pseudo_labels.items()
            }


def band_deviations(shards: Shards, image_channels: int) -> np.ndarray:
    """Root mean squares of the Haar bands of the training images.

    Args:
        shards: Prepared slices.
        image_channels: Channels of the images, which are equal.

    Returns:
        `[4 * image_channels]` float32, at least 0.01, in the order of `haar_analysis`.
    """
    squares = []
    for record in shards.subjects("train", "image"):
        images = shards.read_image(record)[..., np.newaxis]
        step = max(1, len(images) * len(shards.subjects("train", "image")) // _SLICES_TO_MEASURE)
        bands = haar_analysis(tf.constant(images[::step]))
        squares.append(tf.reduce_mean(tf.square(bands), axis=(1, 2)).numpy())
    deviations = np.sqrt(np.concatenate(squares).mean(axis=0))
    return np.maximum(deviations, _LEAST_DEVIATION).repeat(image_channels).astype(np.float32)

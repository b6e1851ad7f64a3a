"""Guides of the sampler: a segmenter and the mask loss pull the estimate towards the label map."""

from __future__ import annotations

from typing import NamedTuple

import keras
import tensorflow as tf

from medusis_tf.losses.mask import MaskLoss
from medusis_tf.methods.diffusion.sections import GuidesConfig
from medusis_tf.models.segmenters.unet import UNetSegmenter
from medusis_tf.ops.mask_components import fill_holes


class Targets(NamedTuple):
    """What guides know of the label maps of a batch.

    Attributes:
        shown: `[batch, height, width, num_classes]` float32, one-hot labels that the segmenter
            must find; all 0 where it need not find any.
        label_map: `[batch, height, width]` int32.
        body_mask: `[batch, height, width]` float32 of 0 and 1, with holes filled.
    """

    shown: tf.Tensor
    label_map: tf.Tensor
    body_mask: tf.Tensor


class Guides(keras.Model):
    """Losses of an estimated image, whose gradients pull it while its noise is removed.

    An estimate with variance v becomes `estimate - v * gradient`, the mean of a Gaussian of that
    variance that is multiplied by exp(-energy) to first order. The energy adds up pixels: the
    cross-entropy of the segmenter and the squared error of the body mask, with their weights. A
    pixel moves by the deviation, `sqrt(v)`, at most.

    Args:
        config: Weights, segmenter and mask loss.
        class_names: Names of the classes, in the order of their ids.
        image_channels: Channels of the images.

    Attributes:
        segmenter: The segmenter, trained beside the denoiser; None without.
        air_threshold: Scalar, intensity between air and body; not trained. See `MaskLoss`.

    Reference:
        Dhariwal and Nichol 2021, https://arxiv.org/abs/2105.05233; the gradient of the estimate
        instead of the noisy image is that of He et al. 2023, https://arxiv.org/abs/2311.16424
    """

    def __init__(self, config: GuidesConfig, class_names: tuple[str, ...], image_channels: int):
        super().__init__(name="guides")
        self.config = config
        self.segmenter = None
        if config.segmenter is not None:
            self.segmenter = config.segmenter.build(len(class_names), image_channels)
        self.air_threshold = self.add_weight(
            name="air_threshold", shape=(), initializer="zeros", trainable=False, dtype="float32"
        )
        self._mask_loss = MaskLoss(config.mask_loss, class_names, self.air_threshold)
        self.built = True

    @property
    def stride(self) -> int:
        """Number by which height and width of an image must be divisible."""
        return 1 if self.segmenter is None else self.segmenter.stride

    def targets(self, one_hot: tf.Tensor, shown: tf.Tensor) -> Targets:
        """Derive what guides need from label maps.

        Args:
            one_hot: `[batch, height, width, num_classes]`. Class 0 is the background.
            shown: The same, as the segmenter knows the classes.
        """
        label_map = tf.argmax(one_hot, axis=-1, output_type=tf.int32)
        return Targets(shown, label_map, tf.cast(fill_holes(label_map != 0), tf.float32))

    def energy(self, image: tf.Tensor, targets: Targets) -> tf.Tensor:
        """Weighted losses, summed over the pixels of the batch.

        Args:
            image: `[batch, height, width, channels]` in [-1, 1].
            targets: Those of its label maps.

        Returns:
            Scalar float32 of at least 0.
        """
        # In the range of images, for which the segmenter was trained; the gradient passes, so that
        # pixels beyond it are pulled too.
        image += tf.stop_gradient(tf.clip_by_value(image, -1.0, 1.0) - image)
        total = tf.constant(0.0)
        if self.segmenter is not None and self.config.segmentation > 0:
            errors = _cross_entropy(self.segmenter, image, targets.shown)
            total += self.config.segmentation * tf.reduce_sum(errors)
        if self.config.mask > 0:
            pixels = tf.cast(tf.size(targets.label_map), tf.float32)
            loss = self._mask_loss(image, targets.body_mask, targets.label_map)
            total += self.config.mask * pixels * loss
        return total

    def pull(self, image: tf.Tensor, variance: tf.Tensor, targets: Targets) -> tf.Tensor:
        """Move an estimate towards its label map.

        Args:
            image: `[batch, height, width, channels]`.
            variance: Variance of its pixels around the true image, scalar; see `variance_of`.
            targets: Those of its label maps.

        Returns:
            Image of the same shape.
        """
        with tf.GradientTape() as tape:
            tape.watch(image)
            energy = self.energy(image, targets)
        gradient = tape.gradient(energy, image, unconnected_gradients="zero")
        deviation = tf.sqrt(variance)
        return image - tf.clip_by_value(variance * gradient, -deviation, deviation)


def variance_of(level: tf.Tensor, data_variance: tf.Tensor) -> tf.Tensor:
    """Variance of a pixel, given its value with noise, if images are Gaussian.

    Far above the deviation of images, noise says nothing, and their own variance remains.

    Args:
        level: Noise level, scalar.
        data_variance: Variance of the pixels of images, scalar.

    Returns:
        Scalar, below the square of the level and below `data_variance`.
    """
    square = tf.square(level)
    return square * data_variance / (square + data_variance)


def segmenter_loss(
    segmenter: UNetSegmenter, image: tf.Tensor, shown: tf.Tensor, training: bool = False
) -> tf.Tensor:
    """Mean cross-entropy of a segmenter over the pixels with a label.

    Args:
        segmenter: The segmenter.
        image: `[batch, height, width, channels]`, estimates of the denoiser.
        shown: `[batch, height, width, num_classes]` float32 of 0 and 1; all 0 where hidden.
        training: Whether the spectral norms of the segmenter are updated.

    Returns:
        Scalar float32: mean over images, so that replicas can share a batch.
    """
    errors = tf.reduce_sum(_cross_entropy(segmenter, image, shown, training), axis=(1, 2))
    return tf.reduce_mean(tf.math.divide_no_nan(errors, tf.reduce_sum(shown, axis=(1, 2, 3))))


def _cross_entropy(
    segmenter: UNetSegmenter, image: tf.Tensor, shown: tf.Tensor, training: bool = False
) -> tf.Tensor:
    """Of each pixel, `[batch, height, width]`. Logit 0 belongs to no class."""
    logits = tf.cast(segmenter(image, training=training)[..., 1:], tf.float32)
    return -tf.reduce_sum(shown * tf.nn.log_softmax(logits), axis=-1)

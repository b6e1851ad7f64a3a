"""Random numbers and random augmentation of one Med-USIS step: noise, translation and jitter."""

import tensorflow as tf

from medusis_tf.methods.med_usis.config import MedUSISConfig
from medusis_tf.methods.med_usis.sections import JitterConfig
from medusis_tf.methods.random_numbers import Purpose, draw_noise, draw_offsets, step_seed
from medusis_tf.ops.smoothing import smooth

# Lower limit of the base of a power, whose gradient is unbounded at 0.
_DARKEST = 1e-3


def jitter(
    images: tf.Tensor,
    seed: tf.Tensor,
    position: tf.Tensor,
    batch_size: int,
    config: JitterConfig,
) -> tf.Tensor:
    """Change contrast, gamma, sharpness and noise of each image at random.

    The anatomy stays visible.

    Args:
        images: `[batch, height, width, channels]` in [-1, 1], or volumes `[batch, depth, height,
            width, channels]`, whose slices are changed alike but for their noise.
        seed: `[2]` int64, from `random_numbers.step_seed`.
        position: `[batch]` indices in the global batch, which select the random numbers.
        batch_size: Size of the global batch.
        config: Strength of each change.

    Returns:
        Float32 images of the same shape, differentiable. Noise and contrast may exceed [-1, 1].
    """
    images = tf.cast(images, tf.float32)
    ones = [1] * (images.shape.rank - 1)
    draws = tf.random.stateless_uniform([3, batch_size, *ones], seed, -1.0, 1.0)
    contrast, exponent, blur = tf.unstack(tf.gather(draws, position, axis=1))
    if config.gamma > 0:
        unit = _DARKEST + (1 - _DARKEST) * (images + 1) / 2
        images = 2 * tf.pow(unit, tf.exp(config.gamma * exponent)) - 1
    if config.contrast > 0:
        images *= 1 + config.contrast * contrast
    if config.blur > 0:
        # Of volumes, each slice.
        slices = tf.reshape(images, [-1, *images.shape[-3:]])
        smoothed = tf.reshape(smooth(slices), tf.shape(images))
        images = tf.where((blur + 1) / 2 < config.blur, smoothed, images)
    if config.noise > 0:
        shape = [batch_size, *images.shape[1:]]
        noise = tf.random.stateless_normal(shape, seed + 1, alg="philox")
        images += config.noise * tf.gather(noise, position)
    return images


class Draws:
    """Random numbers of one step for the samples of one replica.

    Args:
        config: The experiment.
        step: Scalar int64.
        position: `[batch]` indices in the global batch.
    """

    def __init__(self, config: MedUSISConfig, step: tf.Tensor, position: tf.Tensor):
        self._config = config
        self._step = step
        self._position = position

    def noise(self, shape: tuple[int, ...] | None, purpose: Purpose) -> tf.Tensor | None:
        """Draw noise `[batch, *shape]` for a generator; None for a generator without noise."""
        if shape is None:
            return None
        return draw_noise(self._seed(purpose), self._position, self._batch_size, shape)

    def translate(self, images: tf.Tensor, purpose: Purpose) -> tf.Tensor:
        """Shift the images for the discriminator at random, an augmentation for small data sets.

        All slices of a volume are shifted alike.
        """
        fraction = self._config.training.discriminator_translation
        height, width = self._config.data.image_size
        limits = (int(fraction * height), int(fraction * width))
        if not any(limits):
            return images
        offsets = draw_offsets(self._seed(purpose), self._position, self._batch_size, limits)
        if images.shape.rank == 4:
            return translate(images, offsets)
        batch, depth, *rest = images.shape
        slices = tf.reshape(images, [batch * depth, *rest])
        return tf.reshape(translate(slices, tf.repeat(offsets, depth, axis=0)), images.shape)

    def jitter(self, images: tf.Tensor, purpose: Purpose) -> tf.Tensor:
        """Jitter the images for the segmenter, so that it relies on clearly visible structures."""
        settings = self._config.training.segmenter_jitter
        return jitter(images, self._seed(purpose), self._position, self._batch_size, settings)

    @property
    def _batch_size(self) -> int:
        return self._config.training.batch_size

    def _seed(self, purpose: Purpose) -> tf.Tensor:
        return step_seed(self._config.seed, self._step, purpose)


def translate(images: tf.Tensor, offsets: tf.Tensor, fill: float = -1.0) -> tf.Tensor:
    """Shift each image by an integer number of pixels.

    Args:
        images: `[batch, height, width, channels]`.
        offsets: `[batch, 2]` integers, downwards and to the right.
        fill: Value of new pixels at the border; -1 is air in a scaled MR slice.

    Returns:
        Images of the same shape and dtype, differentiable with respect to `images`.
    """
    for axis in (1, 2):
        images = _shift(images, offsets[:, axis - 1], axis, fill)
    return images


def _shift(images: tf.Tensor, offsets: tf.Tensor, axis: int, fill: float) -> tf.Tensor:
    length = tf.shape(images)[axis]
    source = tf.range(length)[None, :] - tf.cast(offsets, tf.int32)[:, None]
    inside = (source >= 0) & (source < length)
    shifted = tf.gather(images, tf.clip_by_value(source, 0, length - 1), axis=axis, batch_dims=1)
    inside = inside[:, :, None, None] if axis == 1 else inside[:, None, :, None]
    shifted = tf.where(inside, shifted, tf.cast(fill, images.dtype))
    return tf.ensure_shape(shifted, images.shape)

"""Changes of an image that leave what is plainly visible: contrast, gamma, smoothing, noise."""

import tensorflow as tf

from medusis_tf.config.training import JitterConfig
from medusis_tf.ops.smooth import smooth

# The gradient of a power is without bounds at 0.
_DARKEST = 1e-3


def jitter(
    images: tf.Tensor,
    seed: tf.Tensor,
    position: tf.Tensor,
    batch_size: int,
    config: JitterConfig,
) -> tf.Tensor:
    """Change every image by its own random numbers.

    Args:
        images: `[batch, height, width, channels]` in [-1, 1].
        seed: `[2]` int64, from `random.step_seed`.
        position: `[batch]` indices in the global batch: they choose the numbers.
        batch_size: Size of the global batch.
        config: How much.

    Returns:
        Same shape, float32; noise and contrast may leave [-1, 1]; differentiable.
    """
    images = tf.cast(images, tf.float32)
    draws = tf.random.stateless_uniform([3, batch_size, 1, 1, 1], seed, -1.0, 1.0)
    contrast, exponent, blur = tf.unstack(tf.gather(draws, position, axis=1))
    if config.gamma > 0:
        unit = _DARKEST + (1 - _DARKEST) * (images + 1) / 2
        images = 2 * tf.pow(unit, tf.exp(config.gamma * exponent)) - 1
    if config.contrast > 0:
        images *= 1 + config.contrast * contrast
    if config.blur > 0:
        images = tf.where((blur + 1) / 2 < config.blur, smooth(images), images)
    if config.noise > 0:
        shape = [batch_size, *images.shape[1:]]
        noise = tf.random.stateless_normal(shape, seed + 1, alg="philox")
        images += config.noise * tf.gather(noise, position)
    return images

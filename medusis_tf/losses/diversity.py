"""The mode-seeking loss: different noise must give different images."""

import tensorflow as tf

# Limits the loss, and thus the gradient, while the images are still equal.
_OFFSET = 0.05


def diversity_loss(image, other_image, noise, other_noise):
    """Penalize images of the same label map that differ little relative to their noise.

    `mean_b 1 / (0.05 + mean|x - x'| / mean|z - z'|)`. The publication has 1e-5 instead of 0.05,
    with which the loss begins at 100,000.

    Args:
        image: `[batch, height, width, channels]`, or volumes `[batch, depth, height, width,
            channels]`, synthesized with `noise`.
        other_image: Images of the same label maps, synthesized with `other_noise`.
        noise: `[batch, ...]`.
        other_noise: Noise of the same shape.

    Returns:
        Scalar float32 from 0 to 20.

    Reference:
        Mode seeking GANs, https://arxiv.org/abs/1903.05628, equation 2
    """
    change = _mean_difference(image, other_image)
    ratio = tf.math.divide_no_nan(change, _mean_difference(noise, other_noise))
    return tf.reduce_mean(1.0 / (_OFFSET + ratio))


def _mean_difference(values, others):
    difference = tf.abs(tf.cast(values, tf.float32) - tf.cast(others, tf.float32))
    return tf.reduce_mean(difference, axis=list(range(1, len(difference.shape))))

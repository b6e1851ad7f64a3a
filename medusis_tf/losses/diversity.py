"""The mode-seeking loss: other noise must give another picture."""

import tensorflow as tf

# Bounds the loss, and with it the gradient, while two pictures are still the same.
_LEAST_RATIO = 0.05


def diversity_loss(image, other_image, noise, other_noise):
    """The inverse of how much pictures of one label map differ, relative to their noises.

    `mean_b 1 / (0.05 + mean|x - x'| / mean|z - z'|)`; published with 1e-5 for 0.05, which starts
    at 100,000.

    Args:
        image: `[batch, height, width, channels]`, painted with `noise`.
        other_image: The same label maps, painted with `other_noise`.
        noise: `[batch, ...]`.
        other_noise: Same shape.

    Returns:
        Scalar float32 from 0 to 20.

    Mode seeking GANs, https://arxiv.org/abs/1903.05628, equation 2
    """
    change = _mean_difference(image, other_image)
    ratio = tf.math.divide_no_nan(change, _mean_difference(noise, other_noise))
    return tf.reduce_mean(1.0 / (_LEAST_RATIO + ratio))


def _mean_difference(values, others):
    difference = tf.abs(tf.cast(values, tf.float32) - tf.cast(others, tf.float32))
    return tf.reduce_mean(difference, axis=list(range(1, len(difference.shape))))

"""Losses against the true image of a label map, for paired samples."""

import tensorflow as tf


def reconstruction_loss(synthetic_image, true_image, sample_weights):
    """Compute the mean absolute difference to the true image.

    Args:
        synthetic_image: `[batch, height, width, channels]`, or volumes `[batch, depth, height,
            width, channels]`.
        true_image: Images of the same shape.
        sample_weights: `[batch]`, the weight of each sample; 0 for one without a true image.

    Returns:
        Scalar float32, the weighted sum over samples of the mean over pixels and channels.

    Reference:
        Image-to-image translation with conditional adversarial networks,
        https://arxiv.org/abs/1611.07004, equation 3
    """
    return _weighted_difference(synthetic_image, true_image, sample_weights)


def feature_matching_loss(synthetic_features, true_features, sample_weights):
    """Compute the mean absolute difference of discriminator features, averaged over the scales.

    Args:
        synthetic_features: Feature maps `[batch, ...]` of the synthetic images, one per scale.
        true_features: Feature maps of the true images, which receive no gradient.
        sample_weights: `[batch]`, as in `reconstruction_loss`.

    Returns:
        Scalar float32.

    Reference:
        High-resolution image synthesis with conditional GANs, https://arxiv.org/abs/1711.11585,
        equation 4
    """
    pairs = zip(synthetic_features, true_features, strict=True)
    scales = [
        _weighted_difference(synthetic, tf.stop_gradient(true), sample_weights)
        for synthetic, true in pairs
    ]
    return tf.add_n(scales) / len(scales)


def _weighted_difference(values, true_values, sample_weights):
    difference = tf.abs(tf.cast(values, tf.float32) - tf.cast(true_values, tf.float32))
    axes = list(range(1, len(difference.shape)))
    return tf.reduce_sum(sample_weights * tf.reduce_mean(difference, axis=axes))

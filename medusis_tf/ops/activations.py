"""Leaky ReLU that needs only its output for its gradient."""

import tensorflow as tf


@tf.custom_gradient
def leaky_relu(features):
    """Leaky ReLU with slope 0.2.

    The output has the sign of the input, so the gradient is taken from the output, which the next
    convolution keeps anyway; the input can be forgotten: half the memory of an activation.

    Args:
        features: Any shape.

    Returns:
        Same shape and dtype; differentiable twice.
    """
    activated = tf.nn.leaky_relu(features, alpha=0.2)

    def gradient(upstream):
        return tf.raw_ops.LeakyReluGrad(gradients=upstream, features=activated, alpha=0.2)

    return activated, gradient

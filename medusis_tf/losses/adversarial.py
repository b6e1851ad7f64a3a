"""The non-saturating adversarial losses and the R1 penalty."""

import tensorflow as tf
from keras import ops


def generator_adversarial_loss(synthetic_logits):
    """Reward the generator for images the discriminator takes for real.

    `mean(softplus(-D(G)))`.

    Args:
        synthetic_logits: `[batch]` or `[batch, rows, columns]`, of synthetic images.

    Returns:
        Scalar, from 0.

    Generative adversarial networks, https://arxiv.org/abs/1406.2661, section 3
    """
    return ops.mean(ops.softplus(-synthetic_logits))


def discriminator_real_loss(real_logits):
    """Reward the discriminator for high logits on real images.

    `mean(softplus(-D(x)))`.

    Args:
        real_logits: `[batch]` or `[batch, rows, columns]`, of real images.

    Returns:
        Scalar, from 0.
    """
    return ops.mean(ops.softplus(-real_logits))


def discriminator_synthetic_loss(synthetic_logits):
    """Reward the discriminator for low logits on synthetic images.

    `mean(softplus(D(G)))`.

    Args:
        synthetic_logits: `[batch]` or `[batch, rows, columns]`, of synthetic images.

    Returns:
        Scalar, from 0.
    """
    return ops.mean(ops.softplus(synthetic_logits))


def r1_penalty(discriminator, real_images):
    """Squared gradient norm of the discriminator at real images, without a weight.

    `mean_b ||grad_x D(x_b)||^2`, the sum over pixels and channels; D is an image's logit, or the
    mean of its patches' logits.

    Args:
        discriminator: Callable from images to logits `[batch]` or `[batch, rows, columns]`.
        real_images: `[batch, height, width, channels]` in [-1, 1].

    Returns:
        Scalar float32, from 0; differentiable by the discriminator's weights.

    Which training methods for GANs do actually converge?, https://arxiv.org/abs/1801.04406
    """
    return judge_with_r1_penalty(discriminator, real_images)[1]


def judge_with_r1_penalty(discriminator, real_images):
    """Logits and `r1_penalty` of real images, from one forward pass.

    Args:
        discriminator: As for `r1_penalty`.
        real_images: `[batch, height, width, channels]` in [-1, 1].

    Returns:
        The logits and the penalty.
    """
    real_images = tf.cast(real_images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(real_images)
        logits = discriminator(real_images)
        # One judgement per image, the mean of its patches' if there are several.
        per_image = tf.reduce_mean(tf.reshape(logits, [tf.shape(logits)[0], -1]), axis=1)
        total = tf.reduce_sum(per_image)
    gradients = tape.gradient(total, real_images)
    return logits, tf.reduce_mean(tf.reduce_sum(tf.square(gradients), axis=[1, 2, 3]))

"""The non-saturating adversarial losses and the R1 penalty."""

import tensorflow as tf
from keras import ops


def generator_adversarial_loss(synthetic_logits):
    """Reward the generator for images that the discriminator classifies as real.

    `mean(softplus(-D(G)))`.

    Args:
        synthetic_logits: Logits of synthetic images or volumes: `[batch]`, or maps of any rank,
            such as `[batch, rows, columns]` and `[batch, slices, rows, columns]`; or a tuple of
            them, one for each member of an ensemble, whose losses are averaged.

    Returns:
        Scalar of at least 0.

    Reference:
        Generative adversarial networks, https://arxiv.org/abs/1406.2661, section 3
    """
    return _mean_softplus(synthetic_logits, -1.0)


def discriminator_real_loss(real_logits):
    """Reward the discriminator for high logits on real images.

    `mean(softplus(-D(x)))`.

    Args:
        real_logits: As `synthetic_logits` of `generator_adversarial_loss`, for real images.

    Returns:
        Scalar of at least 0.
    """
    return _mean_softplus(real_logits, -1.0)


def discriminator_synthetic_loss(synthetic_logits):
    """Reward the discriminator for low logits on synthetic images.

    `mean(softplus(D(G)))`.

    Args:
        synthetic_logits: As for `generator_adversarial_loss`.

    Returns:
        Scalar of at least 0.
    """
    return _mean_softplus(synthetic_logits, 1.0)


def r1_penalty(discriminator, real_images):
    """Compute the squared gradient norm of the discriminator at real images, unweighted.

    `mean_b ||grad_x D(x_b)||^2`, summed over pixels and channels. D is the logit of an image, or
    the mean logit of its patches. The penalties of the members of an ensemble are averaged.

    Args:
        discriminator: Function from images to logits `[batch]` or `[batch, ...]`.
        real_images: `[batch, height, width, channels]` in [-1, 1], or volumes `[batch, depth,
            height, width, channels]`.

    Returns:
        Scalar float32 of at least 0, differentiable with respect to the discriminator.

    Reference:
        Which training methods for GANs do actually converge?, https://arxiv.org/abs/1801.04406
    """
    return logits_and_r1_penalty(discriminator, real_images)[1]


def logits_and_r1_penalty(discriminator, real_images):
    """Compute the logits of real images and their `r1_penalty` in one forward pass.

    Args:
        discriminator: Function as for `r1_penalty`.
        real_images: As for `r1_penalty`.

    Returns:
        The logits and the penalty.
    """
    real_images = tf.cast(real_images, tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(real_images)
        logits = discriminator(real_images)
        members = tf.nest.flatten(logits)
        # One value per image: the mean over its patches, if there are several.
        totals = [
            tf.reduce_sum(tf.reduce_mean(tf.reshape(each, [tf.shape(each)[0], -1]), axis=1))
            for each in members
        ]
    penalties = [_squared_norm(tape.gradient(total, real_images)) for total in totals]
    return logits, tf.add_n(penalties) / len(penalties)


def share_of_real(logits):
    """Compute the share of logits above 0: of images, or of patches, that are taken for real.

    Args:
        logits: As `synthetic_logits` of `generator_adversarial_loss`.

    Returns:
        Scalar float32 from 0 to 1, without a gradient.
    """
    members = [ops.mean(ops.cast(each > 0, "float32")) for each in tf.nest.flatten(logits)]
    return tf.add_n(members) / len(members)


def _squared_norm(gradients):
    axes = list(range(1, gradients.shape.rank))
    return tf.reduce_mean(tf.reduce_sum(tf.square(gradients), axis=axes))


def _mean_softplus(logits, sign):
    members = [ops.mean(ops.softplus(sign * each)) for each in tf.nest.flatten(logits)]
    return members[0] if len(members) == 1 else tf.add_n(members) / len(members)

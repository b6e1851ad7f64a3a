"""What a segmenter can learn from real images, which have no label maps."""

import math

import tensorflow as tf


def entropy_loss(class_logits):
    """How unsure the segmenter is: the mean entropy of its classes, 1 for equal shares.

    Args:
        class_logits: `[batch, height, width, num_classes + 1]`; logit 0 stands for no class.

    Returns:
        Scalar float32 from 0 to 1.

    Semi-supervised learning by entropy minimization, Grandvalet and Bengio, NeurIPS 2004
    """
    logits = _of_classes(class_logits)
    log_shares = tf.nn.log_softmax(logits)
    entropy = -tf.reduce_sum(tf.exp(log_shares) * log_shares, axis=-1)
    return tf.reduce_mean(entropy) / math.log(logits.shape[-1])


def consistency_loss(class_logits, teacher_logits):
    """Squared difference to what a teacher sees, mean over pixels, summed over classes.

    Args:
        class_logits: `[batch, height, width, num_classes + 1]`; logit 0 stands for no class.
        teacher_logits: Same shape; they pass no gradient.

    Returns:
        Scalar float32 from 0 to 2.

    Mean teachers are better role models, https://arxiv.org/abs/1703.01780
    """
    shares = tf.nn.softmax(_of_classes(class_logits))
    expected = tf.stop_gradient(tf.nn.softmax(_of_classes(teacher_logits)))
    return tf.reduce_mean(tf.reduce_sum(tf.square(shares - expected), axis=-1))


def _of_classes(class_logits):
    return tf.cast(class_logits[..., 1:], tf.float32)

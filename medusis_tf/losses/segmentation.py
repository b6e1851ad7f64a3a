"""The segmentation loss: every class present weighs the same, however few its pixels."""

import math

import tensorflow as tf


def segmentation_loss(class_logits, label_map, background_weight=0.0, class_counts=None):
    """Average over the classes present of each class's mean cross-entropy.

    `sum_c w_c CE_c / sum_c w_c` over the classes with pixels, `CE_c` being the mean cross-entropy
    over the pixels of class c, `w_c` 1 for foreground and `background_weight` for class 0. Without
    any class of positive weight the loss is 0.

    Args:
        class_logits: `[batch, height, width, num_classes + 1]`; class c has logit c + 1.
        label_map: `[batch, height, width]`, integers from 0 to num_classes - 1.
        background_weight: Weight of class 0; 0 leaves it out, as published.
        class_counts: Pixels per class, `[num_classes]`; counted in `label_map` if None. With
            several replicas pass the mean of their counts: then the mean of their losses is the
            loss of the whole batch.

    Returns:
        Scalar float32, from 0.

    You only need adversarial supervision (OASIS), https://arxiv.org/abs/2012.04781, equation 1
    """
    num_classes = class_logits.shape[-1] - 1
    if class_counts is None:
        class_counts = count_classes(label_map, num_classes)
    label_map = tf.cast(label_map, tf.int32)
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=label_map + 1, logits=tf.cast(class_logits, tf.float32)
    )
    pixel_weights = tf.gather(_pixel_weight_per_class(class_counts, background_weight), label_map)
    return tf.reduce_sum(pixel_weights * cross_entropy)


def count_classes(label_map, num_classes):
    """Count the pixels of every class.

    Args:
        label_map: Integers from 0 to num_classes - 1, any shape.
        num_classes: Number of classes, background included.

    Returns:
        `[num_classes]` float32.
    """
    ids = tf.reshape(tf.cast(label_map, tf.int32), [-1])
    return tf.math.unsorted_segment_sum(tf.ones_like(ids, tf.float32), ids, num_classes)


def _pixel_weight_per_class(class_counts, background_weight):
    """What one pixel of each class contributes; the weights of all pixels add up to 1."""
    num_classes = class_counts.shape[0]
    class_weights = tf.constant([float(background_weight)] + [1.0] * (num_classes - 1))
    class_weights = tf.where(class_counts > 0, class_weights, 0.0)
    shares = tf.math.divide_no_nan(class_weights, tf.reduce_sum(class_weights))
    return tf.math.divide_no_nan(shares, class_counts)


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

"""Losses of the segmenter: class-balanced cross-entropy, entropy and consistency."""

import math

import tensorflow as tf


def segmentation_loss(class_logits, label_map, background_weight=0.0, class_counts=None):
    """Compute the cross-entropy with equal weight for all classes present, however small.

    `sum_c w_c CE_c / sum_c w_c` over the classes present. `CE_c` is the mean cross-entropy over the
    pixels of class c; `w_c` is 1 for foreground and `background_weight` for class 0. The loss is 0
    if no class with a positive weight is present.

    Args:
        class_logits: `[batch, height, width, num_classes + 1]`, or of volumes `[batch, depth,
            height, width, num_classes + 1]`. Class c has logit c + 1.
        label_map: Integers from 0 to num_classes - 1, in the same shape without the last axis.
        background_weight: Weight of class 0. 0 ignores the background, as published.
        class_counts: `[num_classes]`, pixels per class; None counts them in `label_map`. With
            several replicas, pass the mean of their counts. The mean of their losses is then the
            loss of the global batch.

    Returns:
        Scalar float32 of at least 0.

    Example:
        >>> import tensorflow as tf
        >>> label_map = tf.constant([[[0, 1], [2, 2]]])
        >>> undecided = tf.zeros([1, 2, 2, 4])  # three classes and the unused logit 0
        >>> print(f"{segmentation_loss(undecided, label_map).numpy():.4f}")  # log(4)
        1.3863
        >>> correct = 100.0 * tf.one_hot(label_map + 1, 4)
        >>> print(f"{segmentation_loss(correct, label_map).numpy():.4f}")
        0.0000

    Reference:
        You only need adversarial supervision (OASIS), https://arxiv.org/abs/2012.04781,
        equation 1
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
    """Count the pixels of each class.

    Args:
        label_map: Integers from 0 to num_classes - 1, of any shape.
        num_classes: Number of classes, including the background.

    Returns:
        `[num_classes]` float32.
    """
    ids = tf.reshape(tf.cast(label_map, tf.int32), [-1])
    return tf.math.unsorted_segment_sum(tf.ones_like(ids, tf.float32), ids, num_classes)


def _pixel_weight_per_class(class_counts, background_weight):
    """Compute the weight of one pixel of each class. The weights of all pixels add up to 1."""
    num_classes = class_counts.shape[0]
    class_weights = tf.constant([float(background_weight)] + [1.0] * (num_classes - 1))
    class_weights = tf.where(class_counts > 0, class_weights, 0.0)
    shares = tf.math.divide_no_nan(class_weights, tf.reduce_sum(class_weights))
    return tf.math.divide_no_nan(shares, class_counts)


def entropy_loss(class_logits):
    """Compute the mean entropy of the predicted classes, a measure of uncertainty.

    Args:
        class_logits: `[batch, height, width, num_classes + 1]`, or of volumes `[batch, depth,
            height, width, num_classes + 1]`. Logit 0 belongs to no class.

    Returns:
        Scalar float32 from 0 to 1. 1 means equal probabilities of all classes.

    Reference:
        Grandvalet and Bengio, Semi-supervised learning by entropy minimization, NeurIPS 2004
    """
    logits = _of_classes(class_logits)
    log_probabilities = tf.nn.log_softmax(logits)
    entropy = -tf.reduce_sum(tf.exp(log_probabilities) * log_probabilities, axis=-1)
    return tf.reduce_mean(entropy) / math.log(logits.shape[-1])


def consistency_loss(class_logits, teacher_logits):
    """Compute the squared difference to the class probabilities of a teacher.

    Args:
        class_logits: As for `entropy_loss`.
        teacher_logits: Logits of the same shape, which receive no gradient.

    Returns:
        Scalar float32 from 0 to 2, summed over classes and averaged over pixels.

    Reference:
        Mean teachers are better role models, https://arxiv.org/abs/1703.01780
    """
    probabilities = tf.nn.softmax(_of_classes(class_logits))
    expected = tf.stop_gradient(tf.nn.softmax(_of_classes(teacher_logits)))
    return tf.reduce_mean(tf.reduce_sum(tf.square(probabilities - expected), axis=-1))


def _of_classes(class_logits):
    return tf.cast(class_logits[..., 1:], tf.float32)

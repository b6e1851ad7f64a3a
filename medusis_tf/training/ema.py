"""Exponential moving average of a network's weights."""

import keras
import tensorflow as tf

from medusis_tf.training.fused import approach, copies


def ema_decay(step: tf.Tensor, decay: float, warm_up: bool) -> tf.Tensor:
    """The decay at a step: `decay`, or with warm-up at most `(1 + step) / (10 + step)`.

    Without warm-up a decay of 0.9999 still holds a third of the initial weights after 10,000
    steps.
    """
    if not warm_up:
        return tf.constant(decay, tf.float32)
    step = tf.cast(step, tf.float32)
    return tf.minimum(decay, (1.0 + step) / (10.0 + step))


def update_average(average: keras.Model, network: keras.Model, decay: tf.Tensor) -> None:
    """Move the weights of `average` towards those of `network`.

    Trainable weights are averaged. State (batch-norm statistics, the vectors of the spectral
    norm) is copied: an average of unit vectors is none, and statistics are averages already;
    forward passes renew both for the averaged weights before they are used.

    Call it outside `strategy.run`, where an assignment reaches every replica.
    """
    for mean, weight in zip(average.trainable_weights, network.trainable_weights, strict=True):
        for own_mean, own_weight in zip(copies(mean), copies(weight), strict=True):
            with tf.device(own_mean.device):
                approach(own_mean, own_weight, 1.0 - decay)
    state = zip(average.non_trainable_weights, network.non_trainable_weights, strict=True)
    for mean, weight in state:
        mean.assign(weight)

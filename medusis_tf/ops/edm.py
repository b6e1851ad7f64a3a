"""Noise levels and preconditioning of diffusion models (EDM).

An image with noise of standard deviation sigma is `x = y + sigma * n`, and a denoiser estimates the
mean of all y that fit to x. All formulas are those of the paper.

Reference:
    T. Karras, M. Aittala, T. Aila, S. Laine, Elucidating the design space of diffusion-based
    generative models, NeurIPS 2022, https://arxiv.org/abs/2206.00364
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf


class Preconditioning(NamedTuple):
    """Factors of a denoiser `D(x) = skip * x + output * F(input * x, noise)`, table 1 of the paper.

    Attributes:
        skip: Share of the noisy image in the result.
        output: Factor of the network's output.
        input: Factor of the network's input.
        noise: What the network sees of the noise level.
    """

    skip: tf.Tensor
    output: tf.Tensor
    input: tf.Tensor
    noise: tf.Tensor


def precondition(sigma: tf.Tensor, deviation: tf.Tensor) -> Preconditioning:
    """Compute the factors of a denoiser.

    Args:
        sigma: `[batch]`, standard deviations of the noise, above 0.
        deviation: `[channels]`, standard deviations of the data, above 0. The paper has one for all
            channels; Haar bands differ widely.

    Returns:
        Factors `[batch, 1, 1, channels]`; `noise` is `[batch]`.
    """
    level = sigma[:, tf.newaxis, tf.newaxis, tf.newaxis]
    total = tf.square(level) + tf.square(deviation)
    return Preconditioning(
        skip=tf.square(deviation) / total,
        output=level * deviation * tf.math.rsqrt(total),
        input=tf.math.rsqrt(total),
        noise=tf.math.log(sigma) / 4.0,
    )


def loss_weight(sigma: tf.Tensor, deviation: tf.Tensor) -> tf.Tensor:
    """Weight of the squared error at a noise level, with which all levels count alike at first.

    Args:
        sigma: `[batch]`, standard deviations of the noise.
        deviation: `[channels]`, standard deviations of the data.

    Returns:
        `[batch, 1, 1, channels]`.
    """
    return 1.0 / tf.square(precondition(sigma, deviation).output)


def draw_levels(
    uniform: tf.Tensor, mean: float, deviation: float, lowest: float, highest: float
) -> tf.Tensor:
    """Noise levels whose logarithm is normally distributed between two limits.

    Args:
        uniform: Any shape, numbers in [0, 1).
        mean: Mean of the logarithm, before it is limited (`P_mean` of the paper).
        deviation: Its standard deviation (`P_std`).
        lowest: Lowest level, above 0.
        highest: Highest level.

    Returns:
        Levels of the same shape.
    """
    ends = (np.log([lowest, highest]) - mean) / deviation
    first, last = (
        0.5 * (1.0 + tf.math.erf(tf.constant(end / np.sqrt(2), tf.float64))) for end in ends
    )
    probability = first + tf.cast(uniform, tf.float64) * (last - first)
    drawn = tf.exp(mean + deviation * tf.math.ndtri(probability))
    return tf.cast(tf.clip_by_value(drawn, lowest, highest), tf.float32)


def sampling_levels(
    steps: int | tf.Tensor,
    lowest: float | tf.Tensor,
    highest: float | tf.Tensor,
    rho: float = 7.0,
) -> tf.Tensor:
    """Noise levels from one sampling step to the next, equation 5 of the paper.

    Args:
        steps: Number of steps, at least 1.
        lowest: Level before the last step.
        highest: Level of the start.
        rho: The larger, the shorter the steps at low levels.

    Returns:
        `[steps + 1]` float32, falling; the last is 0.
    """
    position = tf.range(steps) / tf.maximum(1, steps - 1)
    first = tf.cast(highest, tf.float64) ** (1 / rho)
    last = tf.cast(lowest, tf.float64) ** (1 / rho)
    levels = (first + tf.cast(position, tf.float64) * (last - first)) ** rho
    return tf.cast(tf.concat([levels, tf.zeros([1], tf.float64)], axis=0), tf.float32)

"""The stochastic sampler of EDM, which is Heun's method without churn."""

from collections.abc import Callable

import tensorflow as tf

Denoise = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
Draw = Callable[[tf.Tensor], tf.Tensor]

_LARGEST_CHURN = 2**0.5 - 1


def sample(
    denoise: Denoise, start: tf.Tensor, levels: tf.Tensor, churn: float, draw: Draw
) -> tf.Tensor:
    """Remove the noise of an image step by step.

    With one step, the result is the denoiser's estimate at the first level.

    Args:
        denoise: Function of noisy values `[batch, ...]` and their noise level, a scalar, that
            estimates the values without noise.
        start: Values with noise of the first level.
        levels: `[steps + 1]`, falling levels whose last is 0, as from `edm.sampling_levels`.
        churn: Noise that is added and removed again, 0 for none; `S_churn` of the paper. Each step
            adds at most 41 % to its level.
        draw: Function of the number of a step that draws standard normal noise, of the shape of
            `start`. Only used with `churn`.

    Returns:
        Values of the shape of `start`.

    Reference:
        Karras et al. 2022, https://arxiv.org/abs/2206.00364, algorithms 1 and 2
    """
    table = tf.convert_to_tensor(levels, tf.float32)
    steps = tf.shape(table)[0] - 1
    extra = tf.minimum(churn / tf.cast(steps, tf.float32), _LARGEST_CHURN)

    def raised(values: tf.Tensor, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        level = table[step]
        if churn == 0:
            return values, level
        higher = level * (1.0 + extra)
        return values + tf.sqrt(tf.square(higher) - tf.square(level)) * draw(step), higher

    def heun(step: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        values, level = raised(values, step)
        following = table[step + 1]
        slope = (values - denoise(values, level)) / level
        ahead = values + (following - level) * slope
        slope_ahead = (ahead - denoise(ahead, following)) / following
        return step + 1, values + (following - level) * 0.5 * (slope + slope_ahead)

    shape = start.shape
    _, values = tf.while_loop(
        lambda step, _: step < steps - 1,
        heun,
        (tf.constant(0), start),
        shape_invariants=(tf.TensorShape([]), shape),
    )
    # The last step leads to level 0, where there is no slope: it is Euler's, and its result is the
    # estimate itself.
    values, level = raised(tf.ensure_shape(values, shape), steps - 1)
    return denoise(values, level)

"""Elementwise updates of a variable in one pass over its memory."""

import functools
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

# Below, one pass and several cost the same, and each new shape would cost a compilation.
MIN_SIZE = 2**16

Update = Callable[..., None]


def fused(update: Update) -> Update:
    """Make `update(variable, *others)` one loop instead of one per operation.

    TensorFlow runs `(a - b) * c` as two loops with a temporary as large as `a`: for weights that
    do not fit into a cache the time is that of the memory. XLA compiles the whole formula to one
    loop that writes in place, in about 0.05 s for each new shape.

    Only large variables on a CPU are compiled. On a GPU these updates are a small part of the
    step, and XLA needs tools there that not every machine has.

    Args:
        update: Assigns to `variable`, and to variables among `others` of the same shape and on
            the same device, from elementwise operations. A module's function, so that a shape is
            compiled once for all who use it.

    Returns:
        A function with the same arguments and effect.
    """
    compiled = tf.function(update, jit_compile=True, autograph=False)

    @functools.wraps(update)
    def run(variable: tf.Variable, *others: tf.Tensor | tf.Variable) -> None:
        is_on_cpu = tf.DeviceSpec.from_string(variable.device).device_type == "CPU"
        is_large = variable.shape.num_elements() >= MIN_SIZE
        (compiled if is_on_cpu and is_large else update)(variable, *others)

    return run


def copies(variable: keras.Variable) -> Sequence[tf.Variable]:
    """The copies of a variable, one for each replica."""
    return getattr(variable.value, "values", [variable.value])


@fused
def approach(mean: tf.Variable, value: tf.Tensor | tf.Variable, share: tf.Tensor) -> None:
    """Move `mean` towards `value` by a share of the way, 0 to 1."""
    mean.assign_add((value - mean) * share)

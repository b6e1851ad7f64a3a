"""Gradient checkpointing: the backward pass computes the features inside a block again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import tensorflow as tf

from medusis_tf.layers.spectral_conv import Directions

_IS_ON: ContextVar[bool] = ContextVar("gradient_checkpointing", default=False)
_IS_REPEATED: ContextVar[bool] = ContextVar("is_repeated", default=False)


@contextmanager
def gradient_checkpointing(is_on: bool) -> Iterator[None]:
    """Context in which `checkpointed` keeps only the inputs of blocks for the backward pass."""
    with _set(_IS_ON, is_on):
        yield


def is_repeated() -> bool:
    """Whether a block is computed again, so that its layers must not update their statistics."""
    return _IS_REPEATED.get()


def checkpointed(block: Callable[..., Any], *inputs: tf.Tensor | None, **options: Any) -> Any:
    """Call a block, and in `gradient_checkpointing` do not keep its features.

    Values and gradients are those of the plain call. Statistics and spectral norms are updated
    once, and the second computation uses the spectral norms of the first.

    Args:
        block: Layer or function of tensors.
        *inputs: Its inputs; None for one that is left out.
        **options: Other arguments, such as `training`.

    Returns:
        What the block returns.

    Reference:
        Training deep nets with sublinear memory cost, https://arxiv.org/abs/1604.06174
    """
    if not _IS_ON.get():
        return block(*inputs, **options)
    given = [place for place, value in enumerate(inputs) if value is not None]

    def call(values: tuple[tf.Tensor, ...]) -> Any:
        arguments: list[tf.Tensor | None] = [None] * len(inputs)
        for place, value in zip(given, values, strict=True):
            arguments[place] = value
        return block(*arguments, **options)

    @tf.custom_gradient
    def forward(*values: tf.Tensor) -> Any:
        directions = Directions.recorded()
        with directions.shared(), _set(_IS_ON, False):
            outputs = call(values)

        def backward(*upstream: tf.Tensor, variables: Any = None) -> Any:
            # They wait for the gradients of the outputs. Otherwise TensorFlow would merge both
            # computations, and keep the features after all.
            with tf.control_dependencies(upstream):
                again = [tf.identity(value) for value in values]
            sources = (again, variables or [])
            with tf.GradientTape() as tape:
                tape.watch(again)
                with directions.shared(), _set(_IS_ON, False), _set(_IS_REPEATED, True):
                    repeated = call(tuple(again))
            of_inputs, of_variables = tape.gradient(
                repeated, sources, tf.nest.pack_sequence_as(outputs, upstream)
            )
            return of_inputs if variables is None else (of_inputs, of_variables)

        return outputs, backward

    return forward(*(inputs[place] for place in given))


@contextmanager
def _set(variable: ContextVar[bool], value: bool) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)

"""Training steps without compilation, which takes longer than a few tiny steps."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from medusis_tf.methods.method import Method


@contextmanager
def eager_steps() -> Iterator[None]:
    """Run the training steps of one device eagerly. `tests/training/test_loop.py` compiles them."""

    def compile_step(method, kind):
        def step(batch):
            losses = method.train_step(batch, kind)
            method.update_averages()
            return losses

        return step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Method, "_compile_step", compile_step)
        yield

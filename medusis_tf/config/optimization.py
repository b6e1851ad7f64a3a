"""Configuration of the optimizers, of their learning rates, and of averaged weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat

from medusis_tf.config.limits import LARGEST_RATE
from medusis_tf.config.section import Section

if TYPE_CHECKING:
    import keras

Fraction = Annotated[float, Field(ge=0, lt=1)]


class AdamConfig(Section):
    """The Adam optimizer."""

    learning_rate: Annotated[float, Field(gt=0, le=LARGEST_RATE)]
    """Learning rate, at the first step if `training.learning_rate_decay` is set."""
    beta_1: Fraction = 0.0
    """Decay of the moving average of the gradient. 0 is usual for GANs, 0.5 for paired training."""
    beta_2: Fraction = 0.99
    """Decay of the moving average of the squared gradient."""
    epsilon: PositiveFloat = 1e-8
    """Small constant in the denominator that avoids division by zero."""

    def build(
        self, name: str, decay: LearningRateDecay | None = None, steps: int = 1
    ) -> keras.optimizers.Optimizer:
        """Build the optimizer.

        Args:
            name: Name of the optimizer.
            decay: Decay of the learning rate; None for a constant one.
            steps: Number of steps of the run.
        """
        from medusis_tf.optimizers import Adam, LinearDecay

        rate = self.learning_rate
        if decay is not None:
            rate = LinearDecay(rate, int(decay.start * steps), steps, decay.final)
        return Adam(rate, self.beta_1, self.beta_2, self.epsilon, name=name)


class LearningRateDecay(Section):
    """A linear decay of all learning rates, up to the last step of the run.

    A resumed run with more steps continues with the rates of the longer run.
    """

    start: Fraction = 0.5
    """Fraction of `training.steps` after which the learning rates fall."""
    final: Fraction = 0.1
    """Learning rates at the last step, as a fraction of those at the first."""


class EMAConfig(Section):
    """The exponential moving average (EMA) of the generator's weights.

    The EMA generator is the one that is shown, evaluated and exported.
    """

    decay: Fraction = 0.9999
    """Decay of the average per step. It spans about 1 / (1 - decay) steps.

    Lower it for short runs: 0.998 for 1,000 steps.
    """
    half_life: PositiveFloat | None = None
    """Steps after which a weight counts half, instead of `decay`. 70 is a decay of 0.99."""
    warm_up: bool = True
    """Whether the decay at step t is limited to (1 + t) / (10 + t).

    The average then forgets the initial weights quickly.
    """
    refresh_batches: NonNegativeInt = 20
    """Number of forward passes that recompute the batch statistics before the EMA generator is
    used.
    """

    @property
    def decay_per_step(self) -> float:
        """Decay of the average per step, from `half_life` if it is set."""
        return self.decay if self.half_life is None else 0.5 ** (1.0 / self.half_life)

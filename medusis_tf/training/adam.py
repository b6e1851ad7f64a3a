"""Adam that reads and writes every weight once."""

from typing import Any

import keras
import tensorflow as tf

from medusis_tf.training.fused import approach, copies, fused


class Adam(keras.optimizers.Optimizer):
    """Adam as Keras has it, in less time and memory.

    Keras runs some ten operations on each weight, and keeps a first moment even where `beta_1` is
    0 and the moment is the gradient. Here a step is one loop (see `fused`), and without `beta_1`
    there is no first moment: 0.4 GB less for the networks of the thesis.

    Measured on their 103 million weights, one core: 0.15 s without `beta_1` and 0.21 s with it;
    Keras 0.55 s, `ResourceApplyAdam` 0.19 s (with the moment), the fewest operations 0.25 s.

    Args:
        learning_rate: As in Keras.
        beta_1: Decay of the first moment; 0 for none.
        beta_2: Decay of the second moment.
        epsilon: Added to the root of the second moment.
        **kwargs: Of every Keras optimizer.

    Reference:
        D. Kingma, J. Ba, Adam: a method for stochastic optimization (2015).
    """

    def __init__(
        self,
        learning_rate: float = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **kwargs: Any,
    ):
        super().__init__(learning_rate=learning_rate, **kwargs)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon

    def build(self, variables: list[keras.Variable]) -> None:
        """Make the moments of every variable."""
        if self.built:
            return
        super().build(variables)
        self._velocities = self.add_optimizer_variables(variables, "velocity")
        if self.beta_1 > 0:
            self._momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(
        self,
        gradient: tf.Tensor,
        variable: tf.Variable,
        learning_rate: keras.Variable,
    ) -> None:
        """Move a variable against its gradient."""
        index, dtype = self._get_variable_index(variable), variable.dtype
        # A gradient of gathered rows is sparse.
        gradient = tf.cast(tf.convert_to_tensor(gradient), dtype)
        step = tf.cast(self.iterations.value + 1, dtype)
        beta_1, beta_2, epsilon, share_1, share_2 = (
            tf.constant(value, dtype)
            for value in (self.beta_1, self.beta_2, self.epsilon, 1 - self.beta_1, 1 - self.beta_2)
        )
        step_size = tf.cast(learning_rate, dtype) * tf.sqrt(1 - tf.pow(beta_2, step))
        step_size /= 1 - tf.pow(beta_1, step)
        direction = gradient
        if self.beta_1 > 0:
            direction = _beside(variable, self._momentums[index])
            approach(direction, gradient, share_1)
        velocity = _beside(variable, self._velocities[index])
        _descend(variable, velocity, gradient, direction, step_size, share_2, epsilon)

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        own = {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}
        return {**super().get_config(), **own}


@fused
def _descend(
    variable: tf.Variable,
    velocity: tf.Variable,
    gradient: tf.Tensor,
    direction: tf.Tensor | tf.Variable,
    step_size: tf.Tensor,
    share: tf.Tensor,
    epsilon: tf.Tensor,
) -> None:
    velocity.assign_add((tf.square(gradient) - velocity) * share)
    variable.assign_sub(direction * step_size / (tf.sqrt(velocity) + epsilon))


def _beside(variable: tf.Variable, moment: keras.Variable) -> tf.Variable:
    """A moment's copy on the device of a replica's copy of the weight."""
    return next(copy for copy in copies(moment) if copy.device == variable.device)

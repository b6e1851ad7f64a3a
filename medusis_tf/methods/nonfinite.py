"""Skip a training step whose losses or gradients are not finite, and scale losses for float16.

One such step would destroy all weights. It is skipped on all replicas: no weight, no state of an
optimizer or layer and no moving average changes. Only the step counter goes on, from which the data
and the random numbers of the next step derive. A finite step computes the same bits as without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from medusis_tf.ops.replicas import replica_mean
from medusis_tf.optimizers import Adam, copies

if TYPE_CHECKING:
    import keras

Gradients = dict[str, list[tf.Tensor]]

# Name among the losses of a step: 1 if the step was skipped, else 0.
SKIPPED = "steps/skipped"
NORM = "gradient_norm/"

_LARGEST_SCALE = 2.0**24
_STEPS_TO_GROW = 2000


class Snapshot:
    """Values of variables before a step. Holding them costs nothing until they are overwritten.

    Args:
        variables: Variables, on one or several replicas; create it outside `strategy.run`.
    """

    def __init__(self, variables: Sequence[keras.Variable]):
        each = [copy for variable in variables for copy in copies(variable)]
        self._saved = [(variable, tf.identity(variable)) for variable in each]

    def restore(self) -> None:
        """Assign the values again."""
        for variable, value in self._saved:
            with tf.device(variable.device):
                variable.assign(value)


class Descent:
    """The updates of one step on one replica, and whether the step is finite.

    Args:
        optimizers: Optimizers, by the name of their network.
        networks: Networks by name.
        gates: Whether the only update of the step checks its gradients before it changes a weight.
            Otherwise the caller restores the weights after the step (`Snapshot`), which takes
            memory for a copy of them.
        loss_scale: Factor by which the losses were multiplied; None for 1.
    """

    def __init__(
        self,
        optimizers: Mapping[str, Adam],
        networks: Mapping[str, keras.Model],
        gates: bool,
        loss_scale: tf.Tensor | None = None,
    ):
        self._optimizers, self._networks = optimizers, networks
        self._gates, self._loss_scale = gates, loss_scale
        self._checks: list[tf.Tensor] = []
        self._norms: dict[str, tf.Tensor] = {}

    def apply(
        self, gradients: Gradients, losses: Mapping[str, tf.Tensor], suffix: str = ""
    ) -> None:
        """Update the weights of networks; with `gates`, only if gradients and losses are finite.

        Args:
            gradients: Gradients by the name of the network, in the order of its weights.
            losses: Losses that they belong to.
            suffix: Addition to the names of the gradient norms, for a second update.
        """
        if self._loss_scale is not None:
            unscale = 1.0 / self._loss_scale
            gradients = {name: [g * unscale for g in each] for name, each in gradients.items()}
        squares = {name: squared_norm(each) for name, each in gradients.items()}
        names = [f"{NORM}{name}{suffix}" for name in squares]
        sums = [*squares.values(), *(tf.cast(loss, tf.float32) for loss in losses.values())]
        checked = tf.stack([tf.reshape(each, []) for each in sums])
        if self._gates:
            # A value that is not finite on one replica stops all.
            checked = replica_mean(checked)
        is_finite = tf.reduce_all(tf.math.is_finite(checked))
        self._checks.append(is_finite)
        self._norms |= {name: tf.sqrt(checked[place]) for place, name in enumerate(names)}
        for name, each in gradients.items():
            optimizer, weights = self._optimizers[name], self._networks[name].trainable_variables
            with optimizer.only_if(is_finite if self._gates else None):
                optimizer.apply(each, weights)

    def report(self, num_replicas: int) -> dict[str, tf.Tensor]:
        """Return `SKIPPED`, and the norm of the gradient of each network.

        With several replicas, it is the root mean square of the norms of their own gradients.

        Args:
            num_replicas: Number of replicas; the gradient of each was divided by it.
        """
        norms = {name: norm * num_replicas for name, norm in self._norms.items()}
        is_finite = tf.reduce_all(tf.stack(self._checks))
        return {**norms, SKIPPED: 1.0 - tf.cast(is_finite, tf.float32)}


class LossScale:
    """The factor of the losses under float16, whose smallest gradients would otherwise become 0.

    A step that is not finite halves it and is skipped; after 2,000 finite steps it doubles.

    Reference:
        Mixed precision training, https://arxiv.org/abs/1710.03740, section 3.2
    """

    def __init__(self) -> None:
        self.scale = tf.Variable(2.0**15, trainable=False, name="loss_scale")
        self._finite_steps = tf.Variable(0, trainable=False, name="finite_steps")

    @property
    def variables(self) -> list[tf.Variable]:
        """Its state, which a checkpoint contains."""
        return [self.scale, self._finite_steps]

    def update(self, is_finite: tf.Tensor) -> None:
        """Adapt the factor after a step, outside `strategy.run`."""
        steps = tf.where(is_finite, self._finite_steps + 1, 0)
        grows = steps >= _STEPS_TO_GROW
        larger = tf.where(grows, tf.minimum(self.scale * 2, _LARGEST_SCALE), self.scale)
        self.scale.assign(tf.where(is_finite, larger, tf.maximum(self.scale / 2, 1.0)))
        self._finite_steps.assign(tf.where(grows, 0, steps))


def squared_norm(gradients: Sequence[tf.Tensor]) -> tf.Tensor:
    """Sum the squares of all gradients, scalar float32."""
    return 2.0 * tf.add_n([tf.cast(tf.nn.l2_loss(each), tf.float32) for each in gradients])

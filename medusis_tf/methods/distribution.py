"""Run a training step on one or several devices."""

from collections.abc import Callable

import tensorflow as tf

from medusis_tf.errors import UserError


def make_strategy(name: str, batch_size: int) -> tf.distribute.Strategy:
    """Make the distribution strategy of a run.

    Args:
        name: `one_device`; `mirrored` (all GPUs, or all logical CPUs without a GPU); or `auto`:
            `mirrored` if there are several GPUs, else `one_device`.
        batch_size: Global batch size, divided equally among the replicas.

    Raises:
        UserError: The batch cannot be divided equally.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if name == "one_device" or (name == "auto" and len(gpus) < 2):
        return tf.distribute.get_strategy()
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    if batch_size % len(devices):
        raise UserError(
            f"training.batch_size must be divisible by the number of devices ({len(devices)}). "
            f"Received: {batch_size}."
        )
    return mirrored(devices, on_gpu=bool(gpus))


def mirrored(devices: list[str], on_gpu: bool) -> tf.distribute.MirroredStrategy:
    """Make a mirrored strategy over devices.

    On CPUs it reduces by plain copies: with many collective operations per step, TensorFlow 2.21
    mixes up those of logical CPUs ("Shape mismatch in the collective instance").

    Args:
        devices: Names of the devices.
        on_gpu: Whether the devices are GPUs.
    """
    reduction = None if on_gpu else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=reduction)


def share_batch(
    strategy: tf.distribute.Strategy, batch: dict[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Number the samples of a global batch and distribute them over the replicas.

    Sample i goes to replica i modulo R. The groups of the minibatch standard deviation interleave
    in the same way, so they contain the same samples for every R.

    Args:
        strategy: Strategy with R replicas.
        batch: Tensors `[batch, ...]`.

    Returns:
        The samples of each replica, with `position`: `[batch]`, index in the global batch.
    """
    size = next(iter(batch.values())).shape[0]
    batch = {**batch, "position": tf.range(size)}
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return batch

    def own_samples(context: tf.distribute.experimental.ValueContext) -> dict[str, tf.Tensor]:
        first = context.replica_id_in_sync_group
        return {key: value[first::replicas] for key, value in batch.items()}

    return strategy.experimental_distribute_values_from_function(own_samples)


def replica_mean(value: tf.Tensor) -> tf.Tensor:
    """Average a value over the replicas, inside a step."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, value)


def distribute(
    strategy: tf.distribute.Strategy, step: Callable[..., dict[str, tf.Tensor]]
) -> Callable[..., dict[str, tf.Tensor]]:
    """Return a function that runs `step` on every replica and averages the returned scalars."""

    def run(*args: object) -> dict[str, tf.Tensor]:
        scalars = strategy.run(step, args=args)
        mean = tf.distribute.ReduceOp.MEAN
        return {key: strategy.reduce(mean, value, axis=None) for key, value in scalars.items()}

    return run

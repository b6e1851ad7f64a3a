"""One step on one or several devices."""

from collections.abc import Callable

import tensorflow as tf

from medusis_tf.errors import UserError


def make_strategy(name: str, batch_size: int) -> tf.distribute.Strategy:
    """The distribution strategy of a run.

    Args:
        name: `one_device`; `mirrored` (all GPUs, or all logical CPUs where there is no GPU); or
            `auto`: mirrored where there are several GPUs, else one device.
        batch_size: Global batch size, which the replicas share equally.

    Raises:
        UserError: The batch cannot be shared equally.
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
    """A mirrored strategy over the named devices.

    On CPUs it reduces by plain copies: collective operations of logical CPUs lose their pairing
    where a step has many (seen with TensorFlow 2.21: "Shape mismatch in the collective instance").
    """
    reduction = None if on_gpu else tf.distribute.ReductionToOneDevice()
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=reduction)


def share_batch(
    strategy: tf.distribute.Strategy, batch: dict[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Deal the samples of a global batch to the replicas, and number them.

    Sample i goes to replica i modulo R: the groups of the minibatch standard deviation, which
    interleave in the same way, then hold the same samples whatever R is.

    Args:
        strategy: R replicas.
        batch: Tensors `[batch, ...]`.

    Returns:
        The batch with `position` (`[batch]`, index in the global batch), per replica.
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
    """The mean of `value` over the replicas, inside a step."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, value)


def distribute(
    strategy: tf.distribute.Strategy, step: Callable[..., dict[str, tf.Tensor]]
) -> Callable[..., dict[str, tf.Tensor]]:
    """A function that runs `step` on every replica and averages the scalars it returns."""

    def run(*args: object) -> dict[str, tf.Tensor]:
        scalars = strategy.run(step, args=args)
        mean = tf.distribute.ReduceOp.MEAN
        return {key: strategy.reduce(mean, value, axis=None) for key, value in scalars.items()}

    return run

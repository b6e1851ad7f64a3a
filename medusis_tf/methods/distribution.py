"""Run a training step on one or several devices, of one or several machines."""

from collections.abc import Callable

import tensorflow as tf

from medusis_tf.errors import UserError
from medusis_tf.methods.cluster import find_worker, start_workers


def make_strategy(
    name: str, batch_size: int, logical_devices: int = 1, passes: int = 1, worker_timeout: int = 60
) -> tf.distribute.Strategy:
    """Make the distribution strategy of a run.

    Args:
        name: `one_device`; `mirrored` (all GPUs, or all logical CPUs without a GPU);
            `multi_worker` (those of all workers of `TF_CONFIG` or SLURM); or `auto`: `mirrored` if
            there are several GPUs or `logical_devices`, else `one_device`.
        batch_size: Global batch size, divided equally among the replicas.
        logical_devices: Number of devices that the CPU is divided into; more than 1 hides GPUs.
        passes: Number of passes in which each replica computes its gradients.
        worker_timeout: Seconds after which a worker that does not answer counts as lost.

    Raises:
        UserError: The batch cannot be divided equally, the CPU cannot be divided any more, or the
            workers cannot start.
    """
    if logical_devices > 1:
        _divide_cpu(logical_devices)
    if name == "multi_worker":
        worker = find_worker()
        # Before they wait for each other. It is checked again with the devices of all.
        _check_divisible(batch_size, worker.count, passes, "workers")
        strategy = start_workers(worker, worker_timeout)
        _check_divisible(batch_size, strategy.num_replicas_in_sync, passes, "devices")
        return strategy
    gpus = tf.config.list_logical_devices("GPU")
    several = len(gpus) > 1 or logical_devices > 1
    if name == "one_device" or (name == "auto" and not several):
        _check_divisible(batch_size, 1, passes, "devices")
        return tf.distribute.get_strategy()
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    _check_divisible(batch_size, len(devices), passes, "devices")
    return mirrored(devices, on_gpu=bool(gpus))


def _divide_cpu(count: int) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_visible_devices([], "GPU")
        configuration = [tf.config.LogicalDeviceConfiguration()] * count
        tf.config.set_logical_device_configuration(cpu, configuration)
    except RuntimeError:
        found = len(tf.config.list_logical_devices("CPU"))
        if found != count or tf.config.list_logical_devices("GPU"):
            raise UserError(
                f"training.logical_devices={count} must be set before TensorFlow is used. Received:"
                f" {found} devices in use. Start the run in a new process."
            ) from None


def _check_divisible(batch_size: int, replicas: int, passes: int, what: str) -> None:
    if batch_size % (replicas * passes):
        times = f" times training.accumulate ({passes})" if passes > 1 else ""
        raise UserError(
            f"training.batch_size must be divisible by the number of {what} ({replicas}){times}. "
            f"Received: {batch_size}."
        )


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


def worker_count(strategy: tf.distribute.Strategy) -> int:
    """Number of processes that train together; 1 without `multi_worker`."""
    return strategy.num_replicas_in_sync // _local_replicas(strategy)


def worker_number(strategy: tf.distribute.Strategy) -> int:
    """Number of this process among them, from 0. The first is the chief, which writes files."""
    return find_worker().number if worker_count(strategy) > 1 else 0


def _local_replicas(strategy: tf.distribute.Strategy) -> int:
    if strategy.num_replicas_in_sync == 1:  # the default strategy does not know its devices
        return 1
    return len(strategy.extended.worker_devices)


def own_positions(strategy: tf.distribute.Strategy, batch_size: int) -> list[int]:
    """Positions in the global batch of the samples of this worker, in ascending order.

    Sample i belongs to replica i modulo R. Each worker has the replicas next to each other.

    Args:
        strategy: Strategy with R replicas.
        batch_size: Size of the global batch.
    """
    local, replicas = _local_replicas(strategy), strategy.num_replicas_in_sync
    first = worker_number(strategy) * local
    return [i for i in range(batch_size) if first <= i % replicas < first + local]


def share_batch(
    strategy: tf.distribute.Strategy, batch: dict[str, tf.Tensor]
) -> dict[str, tf.Tensor]:
    """Number the samples of this worker's batch and distribute them over its replicas.

    Sample i of the global batch goes to replica i modulo R. The groups of the minibatch standard
    deviation interleave in the same way, so they contain the same samples for every R.

    Args:
        strategy: Strategy with R replicas.
        batch: Tensors `[samples, ...]`: the samples of this worker (`own_positions`), which are
            the whole batch if there is one worker.

    Returns:
        The samples of each replica, with `position`: `[batch]`, index in the global batch.
    """
    size = next(iter(batch.values())).shape[0]
    replicas = strategy.num_replicas_in_sync
    if replicas == 1:
        return {**batch, "position": tf.range(size)}
    local = _local_replicas(strategy)
    positions = own_positions(strategy, size * replicas // local)
    batch = {**batch, "position": tf.constant(positions, tf.int32)}

    def own_samples(context: tf.distribute.experimental.ValueContext) -> dict[str, tf.Tensor]:
        first = context.replica_id_in_sync_group % local
        return {key: value[first::local] for key, value in batch.items()}

    return strategy.experimental_distribute_values_from_function(own_samples)


def copied_ahead(strategy: tf.distribute.Strategy, batches: tf.data.Dataset) -> tf.data.Dataset:
    """Copy batches to a single GPU while the step before runs.

    Several replicas get shares of a batch, which `share_batch` copies. A CPU needs no copies.

    Args:
        strategy: Strategy of the steps.
        batches: Batches as they are made; nothing may be applied to them afterwards.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if strategy.num_replicas_in_sync > 1 or not gpus:
        return batches
    return batches.apply(tf.data.experimental.prefetch_to_device(gpus[0].name))


def from_all_workers(strategy: tf.distribute.Strategy, value: int) -> list[int]:
    """Exchange an integer with the other workers, outside a step. All must call it.

    Args:
        strategy: Strategy of all workers.
        value: Integer of this worker, of at most 62 bits.

    Returns:
        The integers of all workers, by their number.
    """
    count = worker_count(strategy)
    if count == 1:
        return [value]
    number, local = worker_number(strategy), _local_replicas(strategy)

    def own(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
        is_first = context.replica_id_in_sync_group % local == 0
        own_value = tf.constant(value if is_first else 0, tf.int64)
        return tf.one_hot(number, count, own_value, tf.constant(0, tf.int64), dtype=tf.int64)

    values = strategy.experimental_distribute_values_from_function(own)
    total = strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)
    return [int(each) for each in total.numpy()]


def distribute(
    strategy: tf.distribute.Strategy, step: Callable[..., dict[str, tf.Tensor]]
) -> Callable[..., dict[str, tf.Tensor]]:
    """Return a function that runs `step` on every replica and averages the returned scalars."""

    def run(*args: object) -> dict[str, tf.Tensor]:
        scalars = strategy.run(step, args=args)
        mean = tf.distribute.ReduceOp.MEAN
        return {key: strategy.reduce(mean, value, axis=None) for key, value in scalars.items()}

    return run

"""Means and batches of all replicas, inside a step.

`all_reduce` and `all_gather` have custom gradients, and for each of those TensorFlow looks for
variables in the graph before it, in a time that grows with the square of its size. With several
replicas, the search also enters the graphs of the others. Here it ends at once, at
`tf.stop_gradient`, and the gradients are our own.
"""

import tensorflow as tf


def replica_mean(value: tf.Tensor) -> tf.Tensor:
    """Average a value over the replicas; differentiable.

    Args:
        value: Tensor of one shape on all replicas.
    """
    context = _several_replicas()
    if context is None:
        return value

    @tf.custom_gradient
    def mean(value: tf.Tensor) -> tuple[tf.Tensor, object]:
        # The gradient of a mean over replicas is itself such a mean.
        total = context.all_reduce(tf.distribute.ReduceOp.MEAN, tf.stop_gradient(value))
        return total, replica_mean

    return mean(value)


def gathered_batch(value: tf.Tensor) -> tf.Tensor:
    """Gather the samples of all replicas; differentiable.

    Args:
        value: `[batch, ...]`, the samples of this replica.

    Returns:
        The samples of all replicas in the order of the global batch.
    """
    context = _several_replicas()
    if context is None:
        return value
    replicas, size = context.num_replicas_in_sync, value.shape[0]

    @tf.custom_gradient
    def gather(value: tf.Tensor) -> tuple[tf.Tensor, object]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            total = replicas * replica_mean(upstream)
            first = context.replica_id_in_sync_group * size
            return tf.ensure_shape(total[first : first + size], value.shape)

        return context.all_gather(tf.stop_gradient(value), axis=0), gradient

    found = tf.reshape(gather(value), [replicas, *value.shape])
    # Sample i is on replica i modulo R. Not tf.gather: all_gather takes no sparse gradient.
    return tf.reshape(tf.experimental.numpy.swapaxes(found, 0, 1), [-1, *value.shape[1:]])


def _several_replicas() -> tf.distribute.ReplicaContext | None:
    context = tf.distribute.get_replica_context()
    return None if context is None or context.num_replicas_in_sync == 1 else context

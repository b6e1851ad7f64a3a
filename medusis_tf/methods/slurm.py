"""The tasks of a SLURM job, as the addresses of workers."""

from __future__ import annotations

import os
import re

from medusis_tf.errors import UserError

# The workers of a job listen from this port on, plus a number that depends on the job.
_FIRST_PORT = 12000
_PORTS = 20000
_MOST_NODES = 10_000


def slurm_tasks(other: str) -> tuple[list[str], int]:
    """Find the address of each task of this step of a job.

    Args:
        other: Environment variable that may be set instead, for messages.

    Returns:
        `host:port` of all tasks, in the order of their numbers, and the number of this one.

    Raises:
        UserError: The variables of SLURM are wrong, or the tasks are not distributed in blocks.
    """
    import tensorflow as tf
    from tensorflow.python.distribute.cluster_resolver import slurm_cluster_resolver

    nodes = os.environ.get("SLURM_STEP_NODELIST", "")
    try:
        _check_length(nodes)
        port = _FIRST_PORT + int(os.environ.get("SLURM_JOB_ID", "0")) % _PORTS
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=port,
            # Only for the addresses: SLURM itself gives each task its GPUs (--gpus-per-task).
            gpus_per_node=_most_tasks(os.environ.get("SLURM_STEP_TASKS_PER_NODE", "1")),
            gpus_per_task=1,
            auto_set_gpu=False,
        )
        addresses = resolver.cluster_spec().as_dict()["worker"]
        hosts = slurm_cluster_resolver.expand_hostlist(nodes)
        # The resolver sorts node10 before node9. SLURM numbers the tasks in the order of its list.
        addresses.sort(key=lambda address: hosts.index(address.rpartition(":")[0]))
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(
            f"the variables of SLURM do not describe the workers: {error}. Start the workers with "
            f"srun inside the job, or set {other}."
        ) from None
    index = int(resolver.task_id)
    node = os.environ.get("SLURMD_NODENAME")
    if node is not None and addresses[index].rpartition(":")[0] != node:
        raise UserError(
            f"task {index} of SLURM runs on {node}, but would be expected at {addresses[index]}. "
            f"Start with srun --distribution=block, or set {other}."
        )
    return addresses, index


def _check_length(nodes: str) -> None:
    """Check that a list of nodes, such as `node[1-4,7]`, stays short when it is expanded.

    Raises:
        ValueError: It does not.
    """
    ranges = re.findall(r"(\d+)-(\d+)", nodes)
    count = sum(int(last) - int(first) for first, last in ranges)
    if max(count, len(nodes)) > _MOST_NODES:
        raise ValueError(f"SLURM_STEP_NODELIST has more than {_MOST_NODES} nodes")


def _most_tasks(text: str) -> int:
    """Largest number of tasks of a node in SLURM's notation, such as `2(x3),1`."""
    return max(int(entry.partition("(")[0]) for entry in text.split(","))

"""The workers of a run on several machines: who they are, and how they start together.

A worker is one process with its own GPUs. `TF_CONFIG` or SLURM lists all workers. The first one is
the chief, the only one that writes files.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

from medusis_tf.errors import UserError
from medusis_tf.json_files import parse_json
from medusis_tf.methods.meeting import listen, meet
from medusis_tf.methods.slurm import slurm_tasks

VARIABLE = "TF_CONFIG"
_JOBS = ("chief", "worker")
# At the start, workers may have to wait for each other until volumes are converted.
_START_FACTOR = 10
_EXAMPLE = (
    '{"cluster": {"worker": ["host1:9000", "host2:9000"]}, "task": {"type": "worker", "index": 0}}'
)


@dataclass(frozen=True)
class Worker:
    """One worker of a cluster.

    Attributes:
        addresses: `host:port` of each worker, by its job, `chief` or `worker`.
        job: Job of this worker.
        index: Number of this worker in its job, from 0.
    """

    addresses: dict[str, list[str]]
    job: str
    index: int

    @property
    def number(self) -> int:
        """Number among all workers, from 0; the chief is 0."""
        before = len(self.addresses.get("chief", ())) if self.job == "worker" else 0
        return before + self.index

    @property
    def count(self) -> int:
        """Number of all workers."""
        return sum(len(each) for each in self.addresses.values())

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes the files of the run."""
        return self.number == 0

    @property
    def address(self) -> str:
        """`host:port` at which the other workers find this one."""
        return self.addresses[self.job][self.index]


def find_worker() -> Worker:
    """Find out which worker this process is, from `TF_CONFIG` or the variables of SLURM.

    Raises:
        UserError: Neither is there, or it is wrong.
    """
    if text := os.environ.get(VARIABLE):
        return _of_tf_config(text)
    if "SLURM_PROCID" in os.environ:
        return _of_slurm()
    raise UserError(
        "training.strategy=multi_worker needs the addresses of the workers. Received: neither "
        f"{VARIABLE} nor a SLURM job. Start with srun, or set {VARIABLE}, for example to "
        f"{_EXAMPLE}."
    )


def _of_tf_config(text: str) -> Worker:
    try:
        values = parse_json(text)
    except ValueError as error:
        _refuse(f"is not JSON ({error})", text)
    cluster = values.get("cluster") if isinstance(values, dict) else None
    task = values.get("task") if isinstance(values, dict) else None
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        _refuse("must be an object with the keys cluster and task", text)
    if unknown := sorted(set(cluster) - set(_JOBS)):
        _refuse(f"may list only the jobs chief and worker, and lists {unknown[0]}", text)
    addresses = {job: cluster[job] for job in _JOBS if cluster.get(job)}
    _check_addresses(addresses, text)
    job = task.get("type")
    if job not in addresses:
        _refuse(f"lists no workers of the type of this task, {job!r}", text)
    index = _index(task.get("index"), text)
    if not 0 <= index < len(addresses[job]):
        count = len(addresses[job])
        _refuse(f"gives this task the index {index}, but lists {count} of type {job}", text)
    return Worker(addresses, job, index)


def _check_addresses(addresses: dict[str, Any], text: str) -> None:
    for job, each in addresses.items():
        if not isinstance(each, list) or not all(map(_is_address, each)):
            _refuse(f"must list the addresses of {job} as host:port", text)
    every = [address for each in addresses.values() for address in each]
    if len(set(every)) < len(every):
        _refuse("lists one address twice", text)
    if len(addresses.get("chief", ())) > 1:
        _refuse("lists more than one chief", text)


def _is_address(value: object) -> bool:
    host, _, port = str(value).rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 2**16


def _index(value: object, text: str) -> int:
    try:
        return int(str(value))
    except ValueError:
        _refuse(f"must give this task a number as index, and gives {value!r}", text)


def _refuse(problem: str, text: str) -> NoReturn:
    raise UserError(f"{VARIABLE} {problem}. Received: {text}. A valid one is {_EXAMPLE}.")


def _of_slurm() -> Worker:
    addresses, index = slurm_tasks(VARIABLE)
    return Worker({"worker": addresses}, "worker", index)


def start_workers(worker: Worker, timeout: int) -> Any:
    """Connect with the other workers and return the strategy of all.

    Args:
        worker: This worker.
        timeout: Seconds after which a worker that does not answer counts as lost. The start may
            take ten times as long.

    Raises:
        UserError: The port of this worker is in use, or the others do not come in time.
    """
    import tensorflow as tf

    listen(worker.address, worker.number).close()
    # The resolver of TensorFlow for TF_CONFIG uses all visible GPUs; the others count them anew.
    os.environ[VARIABLE] = json.dumps(
        {"cluster": worker.addresses, "task": {"type": worker.job, "index": worker.index}}
    )
    start = _START_FACTOR * timeout
    addresses = [address for each in worker.addresses.values() for address in each]
    meet(addresses, worker.number, start)
    _set_timeouts(worker, timeout, start)
    late = (
        f"the {worker.count} workers have found each other, but are not connected within {start} "
        f"seconds. Check that each reaches all others at the addresses {', '.join(addresses)}."
    )
    try:
        with _deadline(start + timeout, late):
            return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        raise UserError(f"{late} TensorFlow reports: {_first_line(error)}") from None
    except RuntimeError as error:
        raise UserError(
            f"the workers must be connected before TensorFlow is used: {error}. Start the run in a "
            "new process."
        ) from None


def _set_timeouts(worker: Worker, timeout: int, start: int) -> None:
    """Set how long workers wait for each other.

    TensorFlow 2.21 has no public function for it. By default, it waits for an hour at the start,
    and takes a worker for lost that is busy for 10 seconds.
    """
    from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
    from tensorflow.python.eager import context

    jobs = [
        coordination_config_pb2.CoordinatedJob(name=job, num_tasks=len(each))
        for job, each in worker.addresses.items()
    ]
    leader = "chief" if "chief" in worker.addresses else "worker"
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader=f"/job:{leader}/replica:0/task:0",
        cluster_register_timeout_in_ms=1000 * start,
        heartbeat_timeout_in_ms=1000 * timeout,
        coordinated_jobs=jobs,
    )


@contextmanager
def _deadline(seconds: int, message: str) -> Iterator[None]:
    """End the process with a message if the context takes longer: TensorFlow may never return."""

    def end() -> None:
        os.write(2, f"error: {message}\n".encode())
        os._exit(2)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def lost_workers() -> Iterator[None]:
    """Turn what TensorFlow raises when another worker is lost into one sentence.

    Raises:
        UserError: Another worker ended or does not answer.
    """
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        lost = (
            tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
            tf.errors.DeadlineExceededError, tf.errors.FailedPreconditionError,
            tf.errors.InternalError,
        )  # fmt: skip
        if not (isinstance(error, lost) and _is_about_workers(error)):
            raise
        raise UserError(
            "another worker ended or does not answer; its own messages say why. If all say this, "
            "they were too busy to answer: raise training.worker_timeout. Start all workers again "
            "with --resume: they continue from the newest checkpoint."
        ) from None


def _is_about_workers(error: Exception) -> bool:
    text = str(error).lower()
    words = ("collective", "heartbeat", "unhealthy", "connection", "socket", "coordination", "rpc")
    return any(word in text for word in words)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".") + "."

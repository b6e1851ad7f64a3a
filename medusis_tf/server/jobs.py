"""All jobs of a server: the queue before them, and what is kept of them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from medusis_tf.server.bodies import Body
from medusis_tf.server.inference import Inference
from medusis_tf.server.job import Job
from medusis_tf.server.monitoring import Monitoring
from medusis_tf.server.painting import Painting, PaintingRequest
from medusis_tf.server.served_models import ServedModel
from medusis_tf.server.settings import Refusal, ServerLimits
from medusis_tf.server.uploads import Upload


class Jobs:
    """All jobs of a server; the newest finished ones of each client are kept for a while.

    Args:
        inference: Thread of the models.
        limits: Limits of the server.
        monitoring: Metrics.
    """

    def __init__(self, inference: Inference, limits: ServerLimits, monitoring: Monitoring):
        self._inference = inference
        self._limits = limits
        self._monitoring = monitoring
        self._jobs: dict[str, Job] = {}
        self._futures: dict[str, Future[None]] = {}
        self._folder = TemporaryDirectory(prefix="medusis-serve-", ignore_cleanup_errors=True)
        self._is_closed = False

    def start(
        self,
        model: ServedModel,
        request: PaintingRequest,
        upload: Upload,
        body: Body,
        client: str = "",
    ) -> Job:
        """Enqueue a job. To be called in the event loop.

        Args:
            model: Model to paint with.
            request: What to paint.
            upload: Label map.
            body: Count of its bytes.
            client: Who asks; each has its own kept jobs.

        Raises:
            Refusal: A value is out of range, or the queue is full.
        """
        request.check(model, self._limits)
        folder = Path(self._folder.name) / secrets.token_hex(8)
        job = Job(Painting(model, request, folder), upload, body, self._limits, client)
        loop = asyncio.get_running_loop()
        try:
            future = self._inference.submit(lambda: self._run(job, model.name, loop))
        except Refusal:
            job.cancel()
            raise
        self._jobs[job.id], self._futures[job.id] = job, future
        return job

    def find(self, id_: str) -> Job:
        """Return a job.

        Raises:
            Refusal: There is none of this id.
        """
        job = self._jobs.get(id_)
        if job is None:
            raise Refusal(404, "there is no such job; results are kept for a while only.")
        return job

    def remove(self, job: Job) -> None:
        """Cancel a job and delete its files; one that runs deletes them itself when it stops."""
        job.cancel()
        if (future := self._futures.pop(job.id, None)) is not None:
            future.cancel()  # its place in the queue is free
        self._jobs.pop(job.id, None)
        if job.is_over:
            job.delete_files()

    @contextmanager
    def waiting(self, job: Job) -> Iterator[None]:
        """Context in which the files of a job are kept for a request."""
        job.readers += 1
        try:
            yield
        finally:
            job.readers -= 1

    def stop(self) -> None:
        """Cancel all jobs."""
        for job in list(self._jobs.values()):
            job.cancel()

    def close(self) -> None:
        """Delete all files. A job that still runs deletes what it writes after this."""
        self._is_closed = True
        self._folder.cleanup()

    def _run(self, job: Job, model: str, loop: asyncio.AbstractEventLoop) -> None:
        started = time.monotonic()
        try:
            if job.run():
                seconds = time.monotonic() - started
                self._monitoring.observe_inference(model, "volume", seconds)
        finally:
            if self._is_closed:
                self._folder.cleanup()
            with suppress(RuntimeError):  # the loop may be closed
                loop.call_soon_threadsafe(self._finish, job)

    def _finish(self, job: Job) -> None:
        self._futures.pop(job.id, None)
        for old in self._surplus():
            self.remove(old)

    def _surplus(self) -> list[Job]:
        """Finished jobs that are not kept: beyond the newest of a client, then by their bytes."""
        over = [job for job in self._jobs.values() if job.is_over and not job.readers]
        by_client: dict[str, list[Job]] = {}
        for job in over:
            by_client.setdefault(job.client, []).append(job)
        most = self._limits.kept_jobs
        surplus = {job for jobs in by_client.values() for job in jobs[: max(0, len(jobs) - most)]}
        kept = [job for job in over if job not in surplus]
        newest = {jobs[-1] for jobs in by_client.values()}
        size = sum(job.size for job in kept)
        # The newest one of a client goes last.
        for place, job in enumerate(sorted(kept, key=lambda job: job in newest)):
            if size <= self._limits.kept_bytes and len(kept) - place <= self._limits.all_jobs:
                break
            surplus.add(job)
            size -= job.size
        return list(surplus)

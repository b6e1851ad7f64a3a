"""Jobs: requests for volumes that run one after the other and report their progress."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import shutil
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from medusis_tf.server.inference import Inference
from medusis_tf.server.monitoring import Monitoring
from medusis_tf.server.painting import Painting, PaintingRequest
from medusis_tf.server.served_models import ServedModel
from medusis_tf.server.settings import Refusal, ServerLimits

logger = logging.getLogger(__name__)

State = Literal["queued", "running", "done", "failed", "cancelled"]
_POLL_SECONDS = 0.1
_KEEP_ALIVE_SECONDS = 15.0


class Job:
    """One request for volumes. Its thread writes, the event loop reads.

    Attributes:
        id: Random name, the only key to its files.
        painting: Its files.
        state: Where it is.
        finished: Finished samples.
        slices: Finished slices and all slices of the current sample.
        error: Why it failed, with the HTTP status.
    """

    def __init__(self, painting: Painting, limits: ServerLimits):
        self.id = secrets.token_urlsafe(16)
        self.painting = painting
        self.state: State = "queued"
        self.finished = 0
        self.slices = (0, 0)
        self.error: Refusal | None = None
        self.label_map_ready = False
        self._deadline = time.monotonic() + limits.seconds
        self._limits = limits
        self._cancelled = threading.Event()

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ("done", "failed", "cancelled")

    def cancel(self) -> None:
        """Stop at the next slice."""
        self._cancelled.set()
        if self.state == "queued":
            self.state = "cancelled"

    def run(self, body: bytes) -> None:
        """Paint all samples; errors end in `error`."""
        try:
            self._check()
            self.state = "running"
            label_map = self.painting.read(body, self._limits)
            self.label_map_ready = True
            for sample in range(self.painting.request.samples):
                self.slices = (0, 0)
                self.painting.paint(label_map, sample, self._report)
                self.finished = sample + 1
            self.state = "done"
        except _Cancelled:
            self.state = "cancelled"
        except Refusal as refusal:
            self._fail(refusal)
        except MemoryError:
            self._fail(Refusal(503, "there is not enough memory for this label map."))
        except Exception:
            logger.exception("a job failed")
            self._fail(Refusal(500, "the server failed; its log says more."))

    def snapshot(self) -> dict[str, Any]:
        """State and addresses, for the client."""
        address = f"/jobs/{self.id}"
        files = [
            {"volume": f"{address}/volumes/{n}.nii.gz", "record": f"{address}/records/{n}.json"}
            for n in range(1, self.finished + 1)
        ]
        return {
            "job": self.id,
            "state": self.state,
            "samples": self.painting.request.samples,
            "slice": self.slices[0],
            "slices": self.slices[1],
            "label_map": f"{address}/label_map.nii.gz" if self.label_map_ready else None,
            "warnings": list(self.painting.warnings),
            "results": files,
            "error": self.error.message if self.error else None,
        }

    async def events(self, stopping: asyncio.Event) -> AsyncIterator[bytes]:
        """Server-sent events: `progress` for each change, and at last one named as the state."""
        last, quiet = None, time.monotonic()
        while not stopping.is_set():
            over, shown = self.is_over, json.dumps(self.snapshot())
            if shown != last:
                last, quiet = shown, time.monotonic()
                name = self.state if over else "progress"
                yield f"event: {name}\ndata: {shown}\n\n".encode()
            elif time.monotonic() - quiet > _KEEP_ALIVE_SECONDS:
                quiet = time.monotonic()
                yield b": \n\n"
            if over:
                return
            await asyncio.sleep(_POLL_SECONDS)

    def _report(self, done: int, total: int) -> None:
        self.slices = (done, total)
        self._check()

    def _check(self) -> None:
        if self._cancelled.is_set():
            raise _Cancelled
        if time.monotonic() > self._deadline:
            raise Refusal(504, f"the volumes were not ready within {self._limits.seconds:g} s.")

    def _fail(self, refusal: Refusal) -> None:
        self.error = refusal
        self.state = "failed"


class _Cancelled(Exception):  # noqa: N818
    """The client does not want the volumes any more."""


class Jobs:
    """All jobs of a server; finished ones are kept for a while.

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
        self._folder = TemporaryDirectory(prefix="medusis-serve-")

    def start(self, model: ServedModel, request: PaintingRequest, body: bytes) -> Job:
        """Enqueue a job.

        Raises:
            Refusal: A value is out of range, or the queue is full.
        """
        request.check(model, self._limits)
        folder = Path(self._folder.name) / secrets.token_hex(8)
        job = Job(Painting(model, request, folder), self._limits)

        def run() -> None:
            if job.is_over:
                return
            folder.mkdir()
            started = time.monotonic()
            job.run(body)
            seconds = time.monotonic() - started
            self._monitoring.observe_inference(model.name, "volume", seconds)

        self._inference.submit(run)
        self._jobs[job.id] = job
        self._forget()
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
        """Cancel a job and delete its files."""
        job.cancel()
        if job.is_over:
            self._jobs.pop(job.id, None)
            shutil.rmtree(job.painting.folder, ignore_errors=True)

    def stop(self) -> None:
        """Cancel all jobs."""
        for job in self._jobs.values():
            job.cancel()

    def close(self) -> None:
        """Delete all files."""
        self._folder.cleanup()

    def _forget(self) -> None:
        over = [job for job in self._jobs.values() if job.is_over]
        for job in over[: max(0, len(over) - self._limits.kept_jobs)]:
            self.remove(job)

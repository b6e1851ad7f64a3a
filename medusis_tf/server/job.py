"""One request for volumes, from the queue to its files."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import shutil
import threading
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

from medusis_tf.server.bodies import Body
from medusis_tf.server.painting import Painting
from medusis_tf.server.settings import Refusal, ServerLimits
from medusis_tf.server.uploads import Upload

logger = logging.getLogger(__name__)

State = Literal["queued", "running", "done", "failed", "cancelled"]
_POLL_SECONDS = 0.1
_KEEP_ALIVE_SECONDS = 15.0


class Job:
    """One request for volumes. Its thread writes, the event loop reads.

    Args:
        painting: Its volumes.
        upload: Label map as it was sent; forgotten as soon as it is a file.
        body: Count of its bytes, which the job owns, too.
        limits: Limits of the server.
        client: Who sent it.

    Attributes:
        id: Random name, the only key to its files.
        state: Where it is. What ends is decided once: a job that is cancelled is never done.
        finished: Finished samples.
        slices: Finished slices and all slices of the current sample.
        error: Why it failed, with the HTTP status.
        size: Number of bytes of its files, when it is over.
        readers: Number of requests that wait for it.
    """

    def __init__(
        self, painting: Painting, upload: Upload, body: Body, limits: ServerLimits, client: str = ""
    ):
        self.id = secrets.token_urlsafe(16)
        self.painting = painting
        self.client = client
        self.state: State = "queued"
        self.finished = 0
        self.slices = (0, 0)
        self.error: Refusal | None = None
        self.label_map_ready = False
        self.size = 0
        self.readers = 0
        self._upload: Upload | None = upload
        self._body = body
        self._deadline = time.monotonic() + limits.seconds
        self._limits = limits
        self._cancelled = False
        self._lock = threading.Lock()
        body.keep()

    @property
    def is_over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ("done", "failed", "cancelled")

    def cancel(self) -> None:
        """Leave the queue, or stop at the next slice."""
        with self._lock:
            self._cancelled = True
            if self.state != "queued":
                return
            self.state = "cancelled"
        self._take_upload()

    def run(self) -> bool:
        """Paint all samples; errors end in `error`. The folder of a cancelled job is deleted.

        Returns:
            Whether it was not cancelled before.
        """
        with self._lock:
            if self.state != "queued":
                return False
            self.state = "running"
        state: State = "failed"
        try:
            self._paint()
            state = "done"
        except _Cancelled:
            state = "cancelled"
        except Refusal as refusal:
            self.error = refusal
        except MemoryError:
            self.error = Refusal(503, "there is not enough memory for this label map.")
        except Exception:
            logger.exception("a job failed")
            self.error = Refusal(500, "the server failed; its log says more.")
        self._end(state)
        return True

    def delete_files(self) -> None:
        """Delete its folder."""
        shutil.rmtree(self.painting.folder, ignore_errors=True)

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

    def _paint(self) -> None:
        upload = self._take_upload()
        self._check()
        if upload is None:
            raise _Cancelled
        self.painting.folder.mkdir(mode=0o700, parents=True)
        label_map = self.painting.read(upload, self._limits)
        del upload
        self.label_map_ready = True
        for sample in range(self.painting.request.samples):
            self.slices = (0, 0)
            self.painting.paint(label_map, sample, self._report)
            self.finished = sample + 1

    def _take_upload(self) -> Upload | None:
        with self._lock:
            upload, self._upload = self._upload, None
        if upload is not None:
            self._body.release()
        return upload

    def _end(self, state: State) -> None:
        """Forget what was received, and decide the last state."""
        self.painting.delete_source()
        with self._lock:
            if self._cancelled:
                state = "cancelled"
            if state == "cancelled" or not self.label_map_ready:
                self.delete_files()
            folder = self.painting.folder
            self.size = sum(file.stat().st_size for file in folder.glob("*"))
            self.state = state

    def _report(self, done: int, total: int) -> None:
        self.slices = (done, total)
        self._check()

    def _check(self) -> None:
        if self._cancelled:
            raise _Cancelled
        if time.monotonic() > self._deadline:
            raise Refusal(504, f"the volumes were not ready within {self._limits.seconds:g} s.")


class _Cancelled(Exception):  # noqa: N818
    """The client does not want the volumes any more."""

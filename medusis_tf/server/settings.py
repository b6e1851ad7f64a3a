"""Limits of the server, and the errors that it answers with."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerLimits:
    """What one request, and all requests together, may cost.

    Attributes:
        body_bytes: Largest body of a request.
        all_bytes: Largest sum of the bodies that are in memory at a time.
        body_seconds: Time in which a body must arrive.
        voxels: Most voxels of a label map, the sum over a batch.
        samples: Most volumes for one label map.
        queue: Most requests that wait or run at a time.
        seconds: Time in which a prediction or a volume must be finished, waiting included.
        kept_jobs: Finished jobs whose volumes are kept; the oldest one is removed first.
        stop_seconds: Time for running requests after SIGTERM.
    """

    body_bytes: int = 64 * 2**20
    all_bytes: int = 512 * 2**20
    body_seconds: float = 60.0
    voxels: int = 64 * 2**20
    samples: int = 8
    queue: int = 128
    seconds: float = 1800.0
    kept_jobs: int = 8
    stop_seconds: float = 20.0


class Refusal(Exception):  # noqa: N818  (an answer to the client, not a fault of the server)
    """A request that is answered with an error.

    Attributes:
        status: HTTP status.
        message: Text of the answer `{"error": message}`.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
        self.message = message

"""Limits of the server, and the errors that it answers with."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerLimits:
    """What one request, and all requests together, may cost.

    Attributes:
        body_bytes: Largest body of a request.
        all_bytes: Largest sum of the bodies that are in memory at a time, those of queued requests
            included.
        body_seconds: Time in which a body must arrive.
        voxels: Most voxels of a label map, the sum over a batch.
        samples: Most volumes for one label map.
        queue: Most requests that wait or run at a time.
        seconds: Time in which a prediction or a volume must be finished, waiting included.
        kept_jobs: Finished jobs of one client whose volumes are kept.
        kept_bytes: Most bytes of kept volumes; the oldest go first, the newest of each client last.
        all_jobs: Most finished jobs of all clients.
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
    kept_bytes: int = 4 * 2**30
    all_jobs: int = 1024
    stop_seconds: float = 20.0

    @property
    def unpacked_bytes(self) -> int:
        """Most bytes that an archive may unpack to: 4 for a voxel, and the headers."""
        return 4 * self.voxels + 64 * 2**20


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

"""Prometheus metrics of the server."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_BUCKETS = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800)

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Monitoring:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "medusis_requests",
            "Answered requests.",
            ["route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "medusis_request_seconds",
            "Time to answer a request, waiting included.",
            ["route"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._inference = Histogram(
            "medusis_inference_seconds",
            "Time in the model: one prediction, or all volumes of a job.",
            ["model", "kind"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.queue = Gauge(
            "medusis_queue", "Requests that wait for the model or run.", registry=self._registry
        )

    def observe_request(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request.

        Args:
            route: Template of the path, such as `/jobs/{job}`; never the path itself.
            status: HTTP status.
            seconds: Time to answer it.
        """
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def observe_inference(self, model: str, kind: str, seconds: float) -> None:
        """Count one use of a model; `kind` is an endpoint, or `volume`."""
        self._inference.labels(model, kind).observe(seconds)

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self._registry)

"""What a worker counts and times, for Prometheus."""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Rejection = Literal[
    "overloaded", "too_large", "pixels", "format", "frames", "undecodable", "body", "auth", "deadline", "header",
    "connections",
]  # fmt: skip


class Metrics:
    """One registry a worker; every method may be called from any thread."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("graft_requests", "Answered requests.", ["route", "status"], registry=self.registry)
        self._seconds = Histogram("graft_request_seconds", "From headers to answer.", ["route"], registry=self.registry)
        self._batches = Histogram("graft_batch_images", "Images a batch.", registry=self.registry)
        self._batch_seconds = Histogram("graft_batch_seconds", "Decoding and running.", registry=self.registry)
        self._queue = Gauge("graft_queue_images", "Images that wait or are answered.", registry=self.registry)
        self._rejected = Counter("graft_rejected", "Requests refused.", ["reason"], registry=self.registry)
        self._model = Gauge("graft_model", "1: served now.", ["name", "version", "digest"], registry=self.registry)
        self._reloads = Counter("graft_reloads", "Releases taken over or refused.", ["outcome"], registry=self.registry)
        self._shadow = Counter("graft_shadow", "Answers of the shadow.", ["outcome"], registry=self.registry)
        self._captured = Counter("graft_captured", "Requests captured.", ["outcome"], registry=self.registry)

    def request(self, route: str, status: int, seconds: float) -> None:
        """An answered request; `route` is the pattern, never the path that a client chose."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def rejected(self, reason: Rejection) -> None:
        """A request that was refused, whatever its status."""
        self._rejected.labels(reason).inc()

    def batch(self, images: int, seconds: float) -> None:
        """A micro-batch that was decoded and answered."""
        self._batches.observe(images)
        self._batch_seconds.observe(seconds)

    def queue(self, images: int) -> None:
        """How many images wait or are being answered."""
        self._queue.set(images)

    def model(self, name: str, version: str, digest: str) -> None:
        """The release that answers from now on."""
        self._model.clear()
        self._model.labels(name, version, digest).set(1)

    def reload(self, outcome: Literal["accepted", "refused"]) -> None:
        """A release that the store's pointer named was taken over, or refused."""
        self._reloads.labels(outcome).inc()

    def shadow(self, outcome: Literal["agreed", "disagreed", "failed", "dropped"]) -> None:
        """What became of an image that the shadow release was to see."""
        self._shadow.labels(outcome).inc()

    def captured(self, outcome: Literal["kept", "dropped", "failed"]) -> None:
        """What became of a request that was to be captured."""
        self._captured.labels(outcome).inc()

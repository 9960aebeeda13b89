"""What a worker counts and times, for Prometheus; with several workers any one of them answers for all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from deploy.worker_counts import FOLDER, forget_worker, summed_counts

__all__ = ["FOLDER", "Metrics", "Rejection", "forget_worker"]

Rejection = Literal[
    "overloaded", "too_large", "pixels", "format", "frames", "undecodable", "body", "auth", "deadline", "header",
    "connections",
]  # fmt: skip

POINTERS = ("prod", "shadow")
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
IMAGES = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128, 256)

disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The counts of one worker; every method may be called from any thread.

    Labels hold only what the server itself names, so that no client can make series: routes are patterns.
    """

    def __init__(self) -> None:
        self._folder = os.environ.get(FOLDER)
        self.registry = own = CollectorRegistry()
        self._requests = Counter("graft_requests", "Answered requests.", ["route", "status"], registry=own)
        self._seconds = Histogram(
            "graft_request_seconds",
            "From a complete request to its answer; refusals are not timed.",
            ["route"],
            registry=own,
            buckets=SECONDS,
        )
        self._batches = Histogram("graft_batch_images", "Images in one run of the model.", registry=own, buckets=IMAGES)
        self._batch_seconds = Histogram(
            "graft_batch_seconds", "Decoding and running a batch.", registry=own, buckets=SECONDS
        )
        self._queue = Gauge(
            "graft_queue_images",
            "Images that wait or are being answered.",
            registry=own,
            multiprocess_mode="livesum",
        )
        self._rejected = Counter("graft_rejected", "Requests refused, by reason.", ["reason"], registry=own)
        self._failed = Counter(
            "graft_failed_answers", "Sound images that the model failed on, or answered not finite.", registry=own
        )
        self._model = Gauge(
            "graft_model",
            "Workers that answer with this release now.",
            ["name", "version", "digest"],
            registry=own,
            multiprocess_mode="livesum",
        )
        self._reloads = Counter(
            "graft_reloads", "Releases taken over or refused, by pointer.", ["outcome", "pointer"], registry=own
        )
        self._pointer_refused = Gauge(
            "graft_pointer_refused",
            "Workers that do not use what this pointer (prod, shadow) names: it is refused, or cannot be read.",
            ["pointer"],
            registry=own,
            multiprocess_mode="livesum",
        )
        self._shadow = Counter("graft_shadow", "Images that the shadow was to see.", ["outcome"], registry=own)
        self._captured = Counter("graft_captured", "Requests that were to be captured.", ["outcome"], registry=own)
        self._served: tuple[str, str, str] | None = None
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """Make the series that can be named: Prometheus misses the first event of a series that appears with it."""
        for reason in Rejection.__args__:  # type: ignore[attr-defined]
            self._rejected.labels(reason)
        for counter, outcomes in (
            (self._shadow, ("agreed", "disagreed", "failed", "dropped")),
            (self._captured, ("kept", "dropped", "failed")),
        ):
            for outcome in outcomes:
                counter.labels(outcome)
        for pointer in POINTERS:
            self._pointer_refused.labels(pointer)
            for outcome in ("accepted", "refused"):
                self._reloads.labels(outcome, pointer)

    def request(self, route: str, status: int, seconds: float) -> None:
        """An answered request; `route` is the pattern, never the path that a client chose.

        Refusals are not timed: they are fast, and under overload would make the server look so.
        """
        self._requests.labels(route, str(status)).inc()
        if status < 400:
            self._seconds.labels(route).observe(seconds)

    def rejected(self, reason: Rejection) -> None:
        """A request that was refused, whatever its status."""
        self._rejected.labels(reason).inc()

    def batch(self, images: int, seconds: float) -> None:
        """A micro-batch that was decoded and answered."""
        self._batches.observe(images)
        self._batch_seconds.observe(seconds)

    def failed(self) -> None:
        """A sound image that the model failed on, or answered with what is not finite: the server's own fault."""
        self._failed.inc()

    def queue(self, images: int) -> None:
        """How many images wait or are being answered."""
        self._queue.set(images)

    def model(self, name: str, version: str, digest: str) -> None:
        """The release that answers from now on."""
        if self._served is not None:
            self._model.labels(*self._served).set(0)
        self._served = (name, version, digest)
        self._model.labels(*self._served).set(1)

    def reload(self, outcome: Literal["accepted", "refused"], pointer: str = "prod") -> None:
        """A release that a pointer of the store named was taken over, or refused."""
        self._reloads.labels(outcome, pointer).inc()

    def pointer_refused(self, pointer: str, refused: bool) -> None:
        """Whether this worker uses something else than what a pointer of the store names now."""
        self._pointer_refused.labels(pointer).set(int(refused))

    def shadow(self, outcome: Literal["agreed", "disagreed", "failed", "dropped"]) -> None:
        """What became of an image that the shadow release was to see."""
        self._shadow.labels(outcome).inc()

    def captured(self, outcome: Literal["kept", "dropped", "failed"]) -> None:
        """What became of a request that was to be captured."""
        self._captured.labels(outcome).inc()

    def exposition(self) -> bytes:
        """Prometheus text (version 0.0.4) of all workers: sums of counts, also of dead ones, and each one's process."""
        shown = CollectorRegistry()
        if self._folder:
            counts, workers = summed_counts(Path(self._folder))
        else:
            counts, workers = list(self.registry.collect()), [os.getpid()]
        shown.register(_Shown(counts))
        shown.register(_Processes(workers))
        return generate_latest(shown)


class _Shown(Collector):
    """What was counted, without the releases that nobody serves any more."""

    def __init__(self, counts: Iterable[Metric]) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        for metric in self._counts:
            if metric.name == "graft_model":
                metric.samples = [sample for sample in metric.samples if sample.value]
            yield metric


class _Processes(Collector):
    """The process_ metrics of every worker, by its pid; Linux only, as in prometheus_client."""

    def __init__(self, workers: list[int]) -> None:
        self._workers = workers

    def collect(self) -> Iterable[Metric]:
        found: dict[str, Metric] = {}
        for pid in self._workers:
            for metric in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                kept = found.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    kept.add_sample(sample.name, {**sample.labels, "pid": str(pid)}, sample.value)
        yield from found.values()

"""What became of inference requests, by version; as Triton's statistics extension tells it, of this worker alone."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from pydantic import BaseModel

_KEPT_VERSIONS = 32


class Duration(BaseModel):
    """How many requests, and their time together in nanoseconds."""

    count: int = 0
    ns: int = 0


class InferStatistics(BaseModel):
    """Requests that were answered, and requests that were refused or failed."""

    success: Duration
    fail: Duration


class VersionStatistics(BaseModel):
    """`inference_count`: images answered; `last_inference`: milliseconds since 1970, 0 for never."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    inference_stats: InferStatistics


class ModelStatistics(BaseModel):
    """The reply."""

    model_stats: list[VersionStatistics]


@dataclass
class _Counts:
    answered: int = 0
    answered_ns: int = 0
    failed: int = 0
    failed_ns: int = 0
    images: int = 0
    last_ms: int = 0


class Statistics:
    """Counts of one worker's life; of releases long gone the oldest are forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], _Counts] = {}

    def answered(self, name: str, version: str, images: int, ns: int) -> None:
        """A request of so many images was answered by this version."""
        with self._lock:
            counts = self._of(name, version)
            counts.answered += 1
            counts.answered_ns += ns
            counts.images += images
            counts.last_ms = time.time_ns() // 1_000_000

    def failed(self, name: str, version: str, ns: int) -> None:
        """A request that came while this version was served was refused or failed."""
        with self._lock:
            counts = self._of(name, version)
            counts.failed += 1
            counts.failed_ns += ns

    def of(self, name: str, version: str) -> VersionStatistics:
        """The counts of one version; zeros where nothing came."""
        with self._lock:
            counts = self._counts.get((name, version), _Counts())
            return VersionStatistics(
                name=name,
                version=version,
                last_inference=counts.last_ms,
                inference_count=counts.images,
                inference_stats=InferStatistics(
                    success=Duration(count=counts.answered, ns=counts.answered_ns),
                    fail=Duration(count=counts.failed, ns=counts.failed_ns),
                ),
            )

    def _of(self, name: str, version: str) -> _Counts:
        found = self._counts.setdefault((name, version), _Counts())
        while len(self._counts) > _KEPT_VERSIONS:
            del self._counts[next(iter(self._counts))]
        return found

"""What the connections of one worker share: limits, slots, the token, counts, and the sweep for overdue ones."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from uvicorn.server import ServerState

from deploy.admission import Uploads
from deploy.auth import TokenGuard
from deploy.faults import Fault
from deploy.middleware import LONGEST_PATH, UNMATCHED
from deploy.refusals import INFER_ROUTE, PREDICT_ROUTE, VERSION_ROUTE, ReadyRefusal, route_of
from deploy.request_log import log_refusals, log_request
from deploy.worker import Worker

if TYPE_CHECKING:
    from deploy.timed_protocol import TimedProtocol

MEGABYTE, KILOBYTE = 1_000_000, 1000
LINGER_SECONDS = 5.0
"""How long a refused client may go on sending before it is cut off."""
SWEEP_SECONDS = 0.25


class Connections(ServerState):
    """Uvicorn's state of a server, and what Graft's protocol asks beside it.

    Attributes:
        seconds: deadlines by what a client owes (head, body, idle, linger).
        on_lost: called for every connection that ended.
        on_sweep: called several times a second, as long as the event loop turns.
    """

    connections: set[TimedProtocol]  # type: ignore[assignment]

    def __init__(self, worker: Worker, guard: TokenGuard, open_paths: frozenset[str]) -> None:
        super().__init__()
        self.serve = serve = worker.settings.serve
        self.limits = limits = serve.limits
        self.admission, self.metrics = worker.admission, worker.metrics
        self.uploads = Uploads(int(limits.uploads_mb * MEGABYTE))
        self.most_head_bytes = int(limits.header_kb * KILOBYTE)
        self.most_body_bytes = int(limits.body_mb * MEGABYTE)
        self.seconds = {
            "head": limits.header_seconds,
            "body": limits.body_seconds,
            "idle": limits.idle_seconds,
            "linger": min(LINGER_SECONDS, limits.body_seconds),
        }
        self.on_lost: Callable[[], None] = lambda: None
        self.on_sweep: Callable[[], None] = lambda: None
        self._guard, self._open_paths = guard, open_paths
        self._ready = {
            route: ReadyRefusal(route, serve.retry_after_seconds, self.most_head_bytes, self.most_body_bytes)
            for route in (PREDICT_ROUTE, INFER_ROUTE, VERSION_ROUTE)
        }
        self.tick()

    async def keep_time(self) -> None:
        """Once a second `tick`, and more often a look for what is overdue."""
        loop = asyncio.get_running_loop()
        pause = min(SWEEP_SECONDS, min(self.limits.send_seconds, *self.seconds.values()) / 4)
        next_tick = loop.time()
        while True:
            now = loop.time()
            for connection in list(self.connections):
                connection.check(now)
            self.on_sweep()
            if now >= next_tick:
                self.tick()
                next_tick = now + 1.0
            await asyncio.sleep(pause)

    def tick(self) -> None:
        """Renew the Date header, and tell the metrics and the log what was refused at once."""
        self.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        for ready in self._ready.values():
            ready.renew(self.default_headers)
            count, ready.count = ready.count, 0
            for _ in range(count):
                self._count(ready.fault, ready.route, 0.0)
            if count:
                log_refusals(count, {"method": "POST", **_told(ready.fault, ready.route)})

    def ready_refusal(self, method: bytes, url: bytes) -> ReadyRefusal | None:
        """The ready-made 503 of an inference request; None for any other, and where a token must be looked at."""
        if method != b"POST" or not self._guard.open:
            return None
        return self._ready.get(route_of("POST", url.partition(b"?")[0].decode("latin-1")))

    def token_fault(self, path: str, headers: Iterable[tuple[bytes, bytes]]) -> Fault | None:
        """401 where the server wants a token that these headers do not hold."""
        if self._guard.open or path in self._open_paths:
            return None
        try:
            self._guard.check(next((value for name, value in headers if name == b"authorization"), None))
        except Fault as fault:
            return fault
        return None

    def refused(self, fault: Fault, scope: Mapping[str, Any], request_id: str) -> None:
        """Count and log a request that no task saw; `scope` is empty where it did not come whole."""
        method, path = scope.get("method"), scope.get("path")
        seconds = time.perf_counter() - scope["began"] if scope else 0.0
        route = route_of(str(method), str(path))
        self._count(fault, route, seconds)
        fields = {"request_id": request_id, "method": method, **_told(fault, route), "ms": round(seconds * 1000, 2)}
        if route == UNMATCHED and path is not None:
            fields["path"] = path[:LONGEST_PATH]
        log_request(logging.INFO, fields)

    def _count(self, fault: Fault, route: str, seconds: float) -> None:
        self.metrics.request(route, fault.status, seconds)
        if fault.reason:
            self.metrics.rejected(fault.reason)

    def lost(self) -> None:
        """A connection ended."""
        self.on_lost()

    def longest_idle(self) -> TimedProtocol | None:
        """The connection that has waited longest for another request."""
        idle = [(since, id(one), one) for one in self.connections if (since := one.idle_since) is not None]
        return min(idle)[2] if idle else None


def _told(fault: Fault, route: str) -> dict[str, Any]:
    return {"route": route, "status": fault.status, "reason": fault.code}

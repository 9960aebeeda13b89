"""What the connections of one worker share: limits, slots, the token, and counts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from email.utils import formatdate
from typing import TYPE_CHECKING

from uvicorn.server import ServerState

from deploy.admission import Uploads
from deploy.auth import TokenGuard
from deploy.faults import Fault
from deploy.request_log import log_request
from deploy.worker import Worker

if TYPE_CHECKING:
    from deploy.protocol import GuardedProtocol

MEGABYTE, KILOBYTE = 1_000_000, 1000
LINGER_SECONDS = 5.0
"""How long a refused client may go on sending before it is cut off: closing at once would destroy the reply."""


class Connections(ServerState):
    """Uvicorn's state of a server, and what Graft's protocol asks beside it.

    Attributes:
        seconds: deadlines by what a client owes (head, body, idle, linger).
        on_lost: called for every connection that ended.
    """

    connections: set[GuardedProtocol]  # type: ignore[assignment]

    def __init__(self, worker: Worker, guard: TokenGuard, open_paths: frozenset[str]) -> None:
        super().__init__()
        self.serve = worker.settings.serve
        self.limits = limits = self.serve.limits
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
        self._guard, self._open_paths = guard, open_paths
        self.tick()

    def tick(self) -> None:
        """Once a second: the Date header."""
        self.default_headers = [(b"date", formatdate(usegmt=True).encode())]

    def token_fault(self, path: str, headers: Iterable[tuple[bytes, bytes]]) -> Fault | None:
        """401 where the server wants a token that these headers do not hold."""
        if self._guard.open or path in self._open_paths:
            return None
        try:
            self._guard.check(next((value for name, value in headers if name == b"authorization"), None))
        except Fault as fault:
            return fault
        return None

    def refused(self, fault: Fault, route: str, seconds: float, request_id: str, method: str | None) -> None:
        """Count and log a request that no task saw; `method` is None where its line has not come."""
        self.metrics.request(route, fault.status, seconds)
        fields = {"request_id": request_id, "method": method, "route": route, "status": fault.status}
        log_request(logging.INFO, {**fields, "ms": round(seconds * 1000, 2), "reason": fault.code})
        if fault.reason:
            self.metrics.rejected(fault.reason)

    def lost(self) -> None:
        """A connection ended."""
        self.on_lost()

    def close_an_idle_one(self) -> bool:
        """Make room: end a connection between two requests; False where there is none."""
        idle = next((one for one in self.connections if one.is_idle), None)
        if idle is not None:
            idle.close()
        return idle is not None

"""Uvicorn's HTTP/1.1 protocol with a deadline for whatever a client owes, and endings that destroy no reply.

Uvicorn itself closes by time only connections between two requests. Deadlines are looked at by one sweep over all
connections (deploy/connections.py): a timer for every part of every request would cost more than the request's parsing.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any, Literal

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from deploy.connections import Connections
from deploy.patient_flow import PatientFlow

Due = Literal["head", "body", "idle", "linger"]


class TimedProtocol(HttpToolsProtocol):
    """What a client owes: headers, a body, a next request, taking its answer, or its end after a refusal.

    All methods run in the event loop's thread. Requests that are sent ahead of an answer (pipelining) wait in
    `pipeline`, unjudged until their turn.
    """

    server_state: Connections
    flow: PatientFlow

    def __init__(
        self,
        config: Config,
        server_state: Connections,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.access_log = False
        self._turn: RequestResponseCycle | None = None  # the request whose answer is due next
        self._running = False  # and the application has it
        self._task: asyncio.Task[None] | None = None  # in this task
        self._reading: Literal["head", "body"] | None = "head"  # what is incomplete of the request that is coming
        self._messages = 0
        self._head_bytes = 0
        self._deaf = False  # nothing more is read
        self._lingering = False
        self._owed: tuple[Due, int] | None = None
        self._due_at = 0.0
        self._take_by: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = PatientFlow(transport, self.pipeline)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.uploads.end(self)
        if self._turn is not None:
            self._turn.disconnected = True
            self._turn.message_event.set()
        if self._task is not None:
            self._task.cancel()  # what was not begun for this client is not begun
        self.pipeline.clear()
        super().connection_lost(exc)
        self.server_state.lost()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_taking()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._take_by = None

    @property
    def is_idle(self) -> bool:
        """No request has begun to come, and none is being answered."""
        return self._turn is None and self._reading != "body" and self._head_bytes == 0 and not self._lingering

    @property
    def idle_since(self) -> float | None:
        """When it began to wait for another request; None while it does not, also before the first."""
        if self._owed is None or self._owed[0] != "idle" or self.transport.is_closing():
            return None
        return self._due_at - self.server_state.seconds["idle"]

    def check(self, now: float) -> None:
        """Called by the sweep: end what is overdue."""
        if self._take_by is not None and now >= self._take_by:
            self._cut_off()
        elif self._owed is not None and now >= self._due_at:
            due, self._owed = self._owed[0], None
            self.overdue(due)

    def overdue(self, due: Due) -> None:
        """A deadline passed."""
        if due == "linger":
            self.transport.abort()
        else:
            self.close()

    def evict(self) -> None:
        """Called by Uploads: room is needed for the bodies of others."""
        self.overdue("body")

    def _watch(self) -> None:
        """Set the deadline of what the client owes now; one that runs for the same part of a request goes on."""
        due = self._due()
        if due is None:
            self._owed = None
            return
        owed = (due, self._messages)
        if owed != self._owed:
            self._owed = owed
            self._due_at = self.loop.time() + self.server_state.seconds[due]

    def _due(self) -> Due | None:
        """What the client owes now; nothing while an answer is being made."""
        if self._lingering:
            return "linger"
        if self._running or self._deaf:
            return None
        return "idle" if self._messages and self.is_idle else self._reading

    def _linger(self) -> None:
        """Send what is written and the end, then read and forget what still comes, until it ends or its deadline.

        Closing at once would reset the connection of a client that is sending, and destroy the reply with it.
        """
        self._lingering, self._deaf, self._turn = True, True, None
        self.pipeline.clear()
        self.server_state.uploads.end(self)
        if self.transport.is_closing():
            return
        self.flow.read_on()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._watch()

    def _end_after_turn(self) -> None:
        """Read nothing more; close when the answer that is due is sent."""
        if self._turn is None:
            self._linger()
        else:
            self._deaf = True
            self.shutdown()

    def shutdown(self) -> None:
        """Say with the answers that are due that the connection ends with them."""
        for cycle in (self._turn, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None:
                cycle.keep_alive = False

    def close_if_idle(self) -> None:
        """Close unless a request has begun to come, or a refusal is being taken."""
        if self.is_idle:
            self.close()

    def close(self) -> None:
        """Close when what is written is sent; a client that does not take it is cut off."""
        if not self.transport.is_closing():
            self.transport.close()
            self._await_taking()

    def _await_taking(self) -> None:
        if self._take_by is None:
            self._take_by = self.loop.time() + self.server_state.limits.send_seconds

    def _cut_off(self) -> None:
        """Reset the connection: the kernel is not left with an answer that nobody takes."""
        self._take_by = None
        self.server_state.metrics.rejected("deadline")
        sock = self.transport.get_extra_info("socket")
        if sock is not None and not self.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _unsupported_upgrade_warning(self) -> None:
        """A client's wish is no line in the log."""


async def until_lost(app: Any, cycle: RequestResponseCycle, scope: Any, receive: Any, send: Any) -> None:
    """The application, which a lost connection cancels: nobody is left to be told of it."""
    try:
        await app(scope, receive, send)
    except asyncio.CancelledError:
        cycle.disconnected = True

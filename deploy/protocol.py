"""One connection: uvicorn's HTTP/1.1 protocol with deadlines, limits, and admission before a body is read.

uvicorn hands a request to the application with its headers, and closes by time only connections that are idle between
two requests. Here the application gets a request when its body is complete, so that a client that is slow, too large or
refused costs no task; and whatever a client owes (headers, body, taking its answer) has a deadline.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import time
from functools import partial
from typing import Any, Literal

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from deploy import refusals
from deploy.admission import Slot, is_inference
from deploy.connections import Connections
from deploy.faults import Fault, fault_reply
from deploy.middleware import UNMATCHED
from deploy.request_log import request_id_of

CLIENTS_FAULTS = (httptools.HttpParserInvalidURLError, UnicodeDecodeError)
_logger = logging.getLogger("graft.server")


class GuardedProtocol(HttpToolsProtocol):
    """What the application sees of a connection; all methods run in the event loop's thread.

    Requests that are sent ahead of an answer (pipelining) wait in `pipeline`, unjudged until their turn.
    """

    server_state: Connections

    def __init__(
        self,
        config: Config,
        server_state: Connections,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._turn: RequestResponseCycle | None = None  # the request whose answer is due next
        self._running = False
        self._slot: Slot | None = None
        self._reading: Literal["head", "body"] | None = "head"  # what is incomplete of the request that is coming
        self._messages = 0
        self._head_bytes = 0
        self._body_bytes = 0
        self._wire_bytes = 0
        self._deaf = False  # nothing more is read
        self._upgrading = False
        self._lingering = False
        self._owed: tuple[str, int] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None

    # The transport's calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._deadline, self._sending):
            if timer is not None:
                timer.cancel()
        self.server_state.uploads.end(self)
        if self._turn is not None:
            self._turn.disconnected = True
            self._turn.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)
        self.server_state.lost()

    def data_received(self, data: bytes) -> None:
        if self._deaf or self.transport.is_closing():
            return
        if self.is_idle:
            self._disarm()
        if self._reading is None:
            self._reading = "head"
        if self._reading == "head":
            self._head_bytes += len(data)
        self._feed(data, may_upgrade=True)
        self._watch()

    def _feed(self, data: bytes, may_upgrade: bool) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._upgrading and may_upgrade:
                self._read_plainly(data[upgrade.args[0] :])
            else:
                self._end_after_turn()
        except httptools.HttpParserError as err:
            self._malformed(err)
        else:
            self._count(len(data))

    def _read_plainly(self, rest: bytes) -> None:
        """No other protocol is offered: read the request again without its wish, for the parser skips its body."""
        self._upgrading, self._head_bytes = False, 0
        head = [b"%b %b HTTP/1.1\r\n" % (self.parser.get_method(), self.url)]
        for name, value in self.headers:
            if name == b"connection" and b"close" in value.lower():
                head.append(b"connection: close\r\n")
            elif name not in (b"connection", b"upgrade"):
                head.append(b"%b: %b\r\n" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self._feed(b"".join(head) + b"\r\n" + rest, may_upgrade=False)

    def _count(self, size: int) -> None:
        """Bound what is kept of a request that is not complete, whatever its bytes are: chunk sizes, trailers."""
        state = self.server_state
        if self._deaf:
            return
        if self._reading == "head" and self._head_bytes > state.most_head_bytes:
            self._refuse_head(refusals.head_too_large(state.most_head_bytes))
        elif self._reading == "body":
            self._wire_bytes += size
            if self._wire_bytes > 2 * state.most_body_bytes + state.most_head_bytes:
                self._end_body(refusals.body_too_large(state.most_body_bytes))
            elif not self.cycle.response_complete:
                state.uploads.grow(self, size)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._sending is None:
            self._sending = self.loop.call_later(self.server_state.limits.send_seconds, self._cut_off)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._sending is not None and not self.transport.is_closing():
            self._sending.cancel()
            self._sending = None

    # The parser's calls

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading = "head"
        self._messages += 1
        self._head_bytes = self._head_bytes or 1

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading == "head":  # what comes later are trailers, which nothing here reads
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._deaf:
            return
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._upgrading = True
            return
        self.scope["began"] = time.perf_counter()  # type: ignore[typeddict-unknown-key]
        self.scope["refusal"] = self._head_fault()  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()
        self._reading, self._head_bytes, self._body_bytes, self._wire_bytes = "body", 0, 0, 0
        if self.server_state.admission.draining:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        if self._deaf:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self.server_state.most_body_bytes:
            self._end_body(refusals.body_too_large(self.server_state.most_body_bytes))
        elif not self.cycle.response_complete:
            self.cycle.body += body

    def on_message_complete(self) -> None:
        if self._deaf or self._upgrading:
            return
        self._reading = None
        self.server_state.uploads.end(self)
        self.cycle.more_body = False
        self.cycle.message_event.set()
        if self._turn is self.cycle and not self.cycle.response_complete:
            self._admit(self.cycle)

    # A request's turn

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """All requests before this one are answered: refuse it by its headers, or wait for its body."""
        self._turn = cycle
        fault = cycle.scope["refusal"] or self._admission_fault(cycle)  # type: ignore[typeddict-item]
        if fault is not None:
            self._refuse(cycle, fault)
        elif not cycle.more_body:
            self._admit(cycle)
        elif cycle.waiting_for_100_continue:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            cycle.waiting_for_100_continue = False

    def _admit(self, cycle: RequestResponseCycle) -> None:
        """Hand a complete request to the application."""
        slot = None
        if is_inference(cycle.scope["method"], cycle.scope["path"]):
            slot = self.server_state.admission.enter()
            if slot is None:
                self._refuse(cycle, refusals.overloaded(self.server_state.serve.retry_after_seconds))
                return
        cycle.waiting_for_100_continue = False
        self._running, self._slot = True, slot
        task = self.loop.create_task(cycle.run_asgi(self.app))
        self.tasks.add(task)
        task.add_done_callback(partial(self._done, slot))

    def _done(self, slot: Slot | None, task: asyncio.Task[None]) -> None:
        """The application's task ended, with an answer or not."""
        self.tasks.discard(task)
        if slot is not None:
            slot.leave()

    def on_response_complete(self) -> None:
        if self._slot is not None:  # now: its client may ask again before the task's end is told
            self._slot.leave()
        self._running, self._turn, self._slot = False, None, None
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._await_close()
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        self._watch()

    def _head_fault(self) -> Fault | None:
        """What a request's line and headers are refused for, before its turn."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.server_state.most_head_bytes:
            return refusals.head_too_large(self.server_state.most_head_bytes)
        length = next((value for name, value in self.headers if name == b"content-length"), b"")
        if length.isdigit() and int(length[:19]) > self.server_state.most_body_bytes:
            return refusals.body_too_large(self.server_state.most_body_bytes)
        return None

    def _admission_fault(self, cycle: RequestResponseCycle) -> Fault | None:
        if fault := self.server_state.token_fault(cycle.scope["path"], cycle.scope["headers"]):
            return fault
        if self.server_state.admission.full and is_inference(cycle.scope["method"], cycle.scope["path"]):
            return refusals.overloaded(self.server_state.serve.retry_after_seconds)
        return None

    # Refusals

    def _refuse(self, cycle: RequestResponseCycle, fault: Fault) -> None:
        """Answer in the application's place; the connection is kept where the rest of the body is bounded and comes."""
        headers = cycle.scope["headers"]
        bounded = not cycle.more_body or any(name == b"content-length" for name, _ in headers)
        keep = cycle.keep_alive and bounded and not cycle.waiting_for_100_continue and not self.pipeline
        keep = keep and fault.status in (401, 503) and not self.server_state.admission.draining
        self._write_fault(fault, cycle, keep)
        cycle.response_started = cycle.response_complete = True
        if keep:
            cycle.body = bytearray()
            self.server_state.uploads.end(self)
            self.on_response_complete()
        else:
            self._linger()

    def _refuse_head(self, fault: Fault) -> None:
        """Refuse what is no whole request yet; behind an answer that is due, it is only not read any further."""
        if self._turn is not None:
            self._end_after_turn()
            return
        self._write_fault(fault, None, keep=False)
        self._linger()

    def _end_body(self, fault: Fault) -> None:
        """Refuse a request whose body will not be read to its end."""
        if self._turn is self.cycle and not self.cycle.response_complete:
            self._refuse(self.cycle, fault)
        elif self.cycle.response_complete:
            self._linger()
        else:
            self._end_after_turn()

    def _malformed(self, err: httptools.HttpParserError) -> None:
        if isinstance(err, httptools.HttpParserCallbackError) and not isinstance(err.__context__, CLIENTS_FAULTS):
            _logger.error("a request's bytes were not handled", exc_info=err.__context__ or err)
        if self._deaf:
            return
        if self._reading == "body" and self.cycle is not None:
            self._end_body(refusals.malformed("body"))
        else:
            self._refuse_head(refusals.malformed("header"))

    def evict(self) -> None:
        """Called by Uploads: room is needed for the bodies of others."""
        self._end_body(refusals.too_slow("body"))

    def _write_fault(self, fault: Fault, cycle: RequestResponseCycle | None, keep: bool) -> None:
        scope: Any = cycle.scope if cycle is not None else {}
        sent = next((value for name, value in scope.get("headers", ()) if name == b"x-request-id"), None)
        request_id = request_id_of(sent)
        reply = fault_reply(fault, scope.get("path", ""), request_id)
        content = [STATUS_LINE[fault.status]]
        content += [b"%b: %b\r\n" % one for one in (*self.server_state.default_headers, *reply.raw_headers)]
        content.append(b"x-request-id: %b\r\n%b\r\n" % (request_id.encode(), b"" if keep else b"connection: close\r\n"))
        if scope.get("method") != "HEAD":
            content.append(bytes(reply.body))
        self.transport.write(b"".join(content))
        seconds = time.perf_counter() - scope["began"] if scope else 0.0
        route = refusals.route_of(scope) if scope else UNMATCHED
        self.server_state.refused(fault, route, seconds, request_id, scope.get("method"))

    # Deadlines and endings

    @property
    def is_idle(self) -> bool:
        """No request has begun to come, and none is being answered."""
        return self._turn is None and self._reading != "body" and self._head_bytes == 0 and not self._lingering

    def _due(self) -> str | None:
        """What the client owes now; nothing while an answer is being made."""
        if self._lingering:
            return "linger"
        if self._running or self._deaf:
            return None
        return "idle" if self.is_idle and self._messages else self._reading

    def _watch(self) -> None:
        """Set the deadline of what the client owes now; one that runs for the same part of a request goes on."""
        due = self._due()
        owed = (due, self._messages) if due is not None else None
        if owed == self._owed:
            return
        self._disarm()
        if due is not None and not self.transport.is_closing():
            self._owed = owed
            self._deadline = self.loop.call_later(self.server_state.seconds[due], self._overdue, due)

    def _disarm(self) -> None:
        self._owed = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _overdue(self, due: str) -> None:
        self._deadline = None
        if due == "linger":
            self.transport.abort()
        elif due == "body":
            self._end_body(refusals.too_slow("body"))
        elif due == "head" and self._head_bytes:
            self._refuse_head(refusals.too_slow("head"))
        else:
            self.close()

    def _linger(self) -> None:
        """Send what is written and the end, then read and forget what still comes, until it ends or their deadline."""
        self._lingering, self._deaf, self._turn = True, True, None
        self.pipeline.clear()
        self.server_state.uploads.end(self)
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._watch()

    def _end_after_turn(self) -> None:
        """Read nothing more; close when the answer that is due is sent."""
        if self._turn is None:
            self._linger()
            return
        self._deaf = True
        self.shutdown()

    def shutdown(self) -> None:
        """The server drains: answer what has come, and say that the connection ends with it."""
        for cycle in (self._turn, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None:
                cycle.keep_alive = False

    def close_if_idle(self) -> None:
        """Close unless a request has begun to come."""
        if self._lingering or self.is_idle:
            self.close()

    def close(self) -> None:
        """Close when what is written is sent; a client that does not take it is cut off."""
        if not self.transport.is_closing():
            self.transport.close()
            self._await_close()

    def _await_close(self) -> None:
        if self._sending is None:
            self._sending = self.loop.call_later(self.server_state.limits.send_seconds, self._cut_off)

    def _cut_off(self) -> None:
        """Reset the connection: the kernel is not left with an answer that nobody takes."""
        self.server_state.metrics.rejected("deadline")
        sock = self.transport.get_extra_info("socket")
        if sock is not None and not self.transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _unsupported_upgrade_warning(self) -> None:
        """A client's wish is no line in the log."""

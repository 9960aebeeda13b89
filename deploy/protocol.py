"""One connection: limits on what is read, and admission before a body is read.

Uvicorn hands a request to the application with its headers. Here the application gets it when its body is complete, so
that a client that is slow, too large or refused costs no task.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from deploy import refusals
from deploy.admission import Slot, is_inference
from deploy.corked_transport import CorkedTransport
from deploy.faults import Fault
from deploy.request_log import request_id_of
from deploy.timed_protocol import Due, TimedProtocol, until_lost

CLIENTS_FAULTS = (httptools.HttpParserInvalidURLError, UnicodeDecodeError)
_logger = logging.getLogger("graft.server")


class GuardedProtocol(TimedProtocol):
    """What reaches the application of a connection: whole requests, one at a time, that may be read in one way only."""

    _parts: list[bytes]
    _slot: Slot | None = None
    _upgrading = False
    _skipping = False  # the body of a request that was refused by its headers
    _body_bytes = 0
    _wire_bytes = 0

    # Bytes

    def data_received(self, data: bytes) -> None:
        if self._deaf or self.transport.is_closing():
            return
        if self._reading is None:
            self._reading = "head"
        if self._reading == "head":
            if self._head_bytes == 0 and self._messages:
                self._owed = None  # the next request begins
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
        if self._deaf or self._skipping:
            return
        if self._reading == "head" and self._head_bytes > state.most_head_bytes:
            self._refuse_head(refusals.head_too_large(state.most_head_bytes))
        elif self._reading == "body":
            self._wire_bytes += size
            if self._wire_bytes > 2 * state.most_body_bytes + state.most_head_bytes:
                self._end_body(refusals.body_too_large(state.most_body_bytes))
            elif not self.cycle.response_complete:
                state.uploads.grow(self, size)

    # The parser's calls

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False
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
        if self.server_state.admission.full and self._refuse_at_once():
            self._reading, self._head_bytes, self._skipping = "body", 0, True
            return
        self._begin_scope()
        super().on_headers_complete()
        self._reading, self._head_bytes, self._body_bytes, self._wire_bytes = "body", 0, 0, 0
        self._parts = []
        if self.server_state.admission.draining:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        if self._deaf or self._skipping:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self.server_state.most_body_bytes:
            self._end_body(refusals.body_too_large(self.server_state.most_body_bytes))
        elif not self.cycle.response_complete:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        if self._deaf or self._upgrading:
            return
        self._reading = None
        if self._skipping:
            self._skipping = False
            return
        self.server_state.uploads.end(self)
        self.cycle.body = b"".join(self._parts)  # type: ignore[assignment]  # handed on without another copy
        self._parts = []
        self.cycle.more_body = False
        self.cycle.message_event.set()
        if self._turn is self.cycle and not self.cycle.response_complete:
            self._admit(self.cycle)

    def _begin_scope(self) -> None:
        """The scope, when the headers are known: a request that is refused at once needs none."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        scope: Any = self.scope
        scope["headers"] = headers
        scope["began"] = time.perf_counter()
        scope["refusal"] = self._head_fault()

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
        cycle.transport = CorkedTransport(self.transport)  # type: ignore[assignment]
        self._running, self._slot = True, slot
        self._task = task = self.loop.create_task(cycle.run_asgi(partial(until_lost, self.app, cycle)))
        self.tasks.add(task)
        task.add_done_callback(partial(self._done, slot))

    def _done(self, slot: Slot | None, task: asyncio.Task[None]) -> None:
        """The application's task ended, with an answer or not."""
        self.tasks.discard(task)
        if slot is not None:
            slot.leave()

    def on_response_complete(self) -> None:
        if self._turn is not None and isinstance(self._turn.transport, CorkedTransport):
            self._turn.transport.flush()
        if self._slot is not None:  # now: its client may ask again before the task's end is told
            self._slot.leave()
        self._running, self._turn, self._slot, self._task = False, None, None, None
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._await_taking()
            return
        following = self.pipeline.pop() if self.pipeline else None
        self.flow.resume_reading()
        if following is not None:
            self._start_asgi_task(*following)
        self._watch()

    def _head_fault(self) -> Fault | None:
        """What a request's line and headers are refused for, before its turn."""
        state, size, length, hosts = self.server_state, len(self.url), b"", 0
        for name, value in self.headers:
            size += len(name) + len(value) + 4
            hosts += name == b"host"
            if name == b"content-length":
                length = value
        if size > state.most_head_bytes:
            return refusals.head_too_large(state.most_head_bytes)
        if length.isdigit() and int(length[:19]) > state.most_body_bytes:
            return refusals.body_too_large(state.most_body_bytes)
        if hosts > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            return refusals.no_one_host()
        return None

    def _admission_fault(self, cycle: RequestResponseCycle) -> Fault | None:
        if fault := self.server_state.token_fault(cycle.scope["path"], cycle.scope["headers"]):
            return fault
        if self.server_state.admission.full and is_inference(cycle.scope["method"], cycle.scope["path"]):
            return refusals.overloaded(self.server_state.serve.retry_after_seconds)
        return None

    # Refusals

    def _refuse_at_once(self) -> bool:
        """The common refusal of a server under too much load, ready-made; False where a request is out of the common.

        Most requests are refused then, and what each costs is taken from those that are answered.
        """
        state, parser = self.server_state, self.parser
        if self._turn is not None or self.flow.write_paused or state.admission.draining:
            return False
        ready = state.ready_refusal(parser.get_method(), self.url)
        if ready is None or parser.get_http_version() != "1.1" or not parser.should_keep_alive():
            return False
        if not ready.fits(self.headers):
            return False
        self.transport.write(ready.reply())
        return True

    def _refuse(self, cycle: RequestResponseCycle, fault: Fault) -> None:
        """Answer in the application's place; the connection is kept where the rest of the body is bounded and comes."""
        headers = cycle.scope["headers"]
        bounded = not cycle.more_body or any(name == b"content-length" for name, _ in headers)
        keep = cycle.keep_alive and bounded and not cycle.waiting_for_100_continue and not self.pipeline
        keep = keep and fault.status in (401, 503) and not self.server_state.admission.draining
        keep = keep and not self.flow.write_paused  # who takes no refusals gets no more of them
        self._write_fault(fault, cycle, keep)
        cycle.response_started = cycle.response_complete = True
        self._parts = []
        if keep:
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
        if self._skipping or self.cycle.response_complete:
            self._linger()
        elif self._turn is self.cycle:
            self._refuse(self.cycle, fault)
        else:
            self._end_after_turn()

    def _malformed(self, err: httptools.HttpParserError) -> None:
        if isinstance(err, httptools.HttpParserCallbackError) and not isinstance(err.__context__, CLIENTS_FAULTS):
            _logger.error("a request's bytes were not handled", exc_info=err.__context__ or err)
        if self._deaf:
            return
        if self._reading == "body":
            self._end_body(refusals.malformed("body"))
        else:
            self._refuse_head(refusals.malformed("header"))

    def overdue(self, due: Due) -> None:
        if due == "body":
            self._end_body(refusals.too_slow("body"))
        elif due == "head" and self._head_bytes:
            self._refuse_head(refusals.too_slow("head"))
        else:
            super().overdue(due)

    def _write_fault(self, fault: Fault, cycle: RequestResponseCycle | None, keep: bool) -> None:
        scope: Any = cycle.scope if cycle is not None else {}
        sent = next((value for name, value in scope.get("headers", ()) if name == b"x-request-id"), None)
        request_id = request_id_of(sent)
        self.server_state.refused(fault, scope, request_id)
        self.transport.write(refusals.written(fault, scope, request_id, keep, self.server_state.default_headers))

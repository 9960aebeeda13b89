"""What goes round every request: its id, the token, headers of every reply, counts and one line in the log."""

from __future__ import annotations

import logging
import time
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deploy.auth import TokenGuard
from deploy.faults import SAFE_HEADERS, Fault, internal_fault, noted_reply
from deploy.health import QUIET
from deploy.metrics import Metrics
from deploy.request_log import log_request, request_id_of

UNMATCHED = "unmatched"
CLIENT_WENT = 499
LONGEST_PATH = 200
_HEADERS = [(name.encode(), value.encode()) for name, value in SAFE_HEADERS.items()]
_logger = logging.getLogger("graft.server")


class Envelope:
    """Pure ASGI middleware round all others; an exception that nothing inside answered is logged and becomes a 500."""

    def __init__(self, app: ASGIApp, metrics: Metrics, guard: TokenGuard, open_paths: frozenset[str]) -> None:
        self._app = app
        self._metrics = metrics
        self._guard = guard
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        headers = dict(reversed(scope["headers"]))
        state: dict[str, Any] = scope.setdefault("state", {})
        state["request_id"] = request_id = request_id_of(headers.get(b"x-request-id"))
        reply = _Reply(send, request_id)
        try:
            if scope["path"] not in self._open_paths:
                self._guard.check(headers.get(b"authorization"))
            await self._app(scope, receive, reply.send)
        except ClientDisconnect:
            reply.status = reply.status or CLIENT_WENT
        except Exception as err:
            await self._refuse(err, scope, receive, reply)
        finally:
            self._note(scope, headers, reply, time.perf_counter() - began)

    async def _refuse(self, err: Exception, scope: Scope, receive: Receive, reply: _Reply) -> None:
        if not isinstance(err, Fault):
            _logger.exception("request %s failed", scope["state"]["request_id"])
        if reply.status:
            return
        fault = err if isinstance(err, Fault) else internal_fault()
        await noted_reply(fault, scope, self._metrics)(scope, receive, reply.send)

    def _note(self, scope: Scope, headers: dict[bytes, bytes], reply: _Reply, seconds: float) -> None:
        state, route = scope["state"], route_of(scope)
        status = reply.status or CLIENT_WENT
        self._metrics.request(route, status, seconds)
        quiet = route in QUIET and status < 400
        fields = {
            "request_id": state["request_id"],
            "method": scope["method"],
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 2),
            "bytes_in": state.get("bytes_in", _length(headers)),
            "bytes_out": reply.size,
            "version": state.get("version"),
            "reason": state.get("reason"),
        }
        if route == UNMATCHED:
            fields["path"] = scope["path"][:LONGEST_PATH]
        log_request(logging.DEBUG if quiet else logging.ERROR if status == 500 else logging.INFO, fields)


class _Reply:
    """Adds the headers of every reply and watches its status and size."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 0
        self.size = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            named = {name.lower() for name, _ in headers}
            headers += [one for one in _HEADERS if one[0] not in named]
            headers.append((b"x-request-id", self._request_id.encode()))
            message = {**message, "headers": headers}
        else:
            self.size += len(message.get("body", b""))
        await self._send(message)


def route_of(scope: Scope) -> str:
    """The pattern of the route that answered; one name for all paths that are none of ours."""
    route = scope.get("route")
    return str(getattr(route, "path", UNMATCHED)) if route is not None else UNMATCHED


def _length(headers: dict[bytes, bytes]) -> int:
    length = headers.get(b"content-length", b"0")
    return int(length) if length.isdigit() and len(length) < 19 else 0

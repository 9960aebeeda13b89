"""What a connection refuses by itself, before or in place of the application."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from deploy.admission import is_inference
from deploy.engine import Overloaded
from deploy.faults import Fault, fault_of, fault_reply
from deploy.middleware import UNMATCHED

PREDICT_ROUTE = "/predict"
INFER_ROUTE = "/v2/models/{model_name}/infer"
VERSION_ROUTE = "/v2/models/{model_name}/versions/{model_version}/infer"
_PLACE = "0" * 32
"""Where a request id goes, as long as those that the server makes."""
_UNCOMMON = frozenset({b"x-request-id", b"transfer-encoding", b"expect"})


def overloaded(retry_after_seconds: int) -> Fault:
    """503: every slot is taken."""
    return fault_of(Overloaded(), retry_after_seconds)


def head_too_large(most: int) -> Fault:
    """431: the request line and headers together."""
    message = f"the request line and headers are larger than {most} bytes, the most this server reads"
    return Fault(431, "head_too_large", message, "header")


def body_too_large(most: int) -> Fault:
    """413: by its announced length, or by what came."""
    message = f"the body is larger than {most} bytes, the most this server takes; send a smaller image"
    return Fault(413, "too_large", message, "too_large")


def too_slow(part: Literal["head", "body"]) -> Fault:
    """408: a part of the request did not come in time."""
    name = "headers" if part == "head" else "body"
    return Fault(408, "timeout", f"the request's {name} did not come in time", "deadline")


def malformed(part: Literal["header", "body"]) -> Fault:
    """400: not HTTP/1.1, or ambiguous enough to be read in two ways."""
    what = "headers are no valid HTTP/1.1" if part == "header" else "body does not have the form its headers say"
    return Fault(400, "bad_request", f"the request's {what}", part)


def no_one_host() -> Fault:
    """400: HTTP/1.1 wants one Host (RFC 9112, 3.2), and two are read differently by a proxy and a server."""
    return Fault(400, "bad_request", "a request of HTTP/1.1 must have one Host header, and no second one", "header")


def route_of(method: str, path: str) -> str:
    """The pattern under which a refused request is counted; never a path that a client chose.

    >>> route_of("POST", "/v2/models/dogs/infer"), route_of("GET", "/secret")
    ('/v2/models/{model_name}/infer', 'unmatched')
    """
    if not is_inference(method, path):
        return UNMATCHED
    if path == PREDICT_ROUTE:
        return PREDICT_ROUTE
    return VERSION_ROUTE if "/versions/" in path else INFER_ROUTE


def written(
    fault: Fault, scope: Mapping[str, Any], request_id: str, keep: bool, headers: Iterable[tuple[bytes, bytes]]
) -> bytes:
    """The bytes of a refusal, with these headers of every reply; `scope` is empty where no whole request came."""
    reply = fault_reply(fault, scope.get("path", ""), request_id)
    content = [STATUS_LINE[fault.status]]
    content += [b"%b: %b\r\n" % one for one in (*headers, *reply.raw_headers)]
    content.append(b"x-request-id: %b\r\n%b\r\n" % (request_id.encode(), b"" if keep else b"connection: close\r\n"))
    if scope.get("method") != "HEAD":
        content.append(bytes(reply.body))
    return b"".join(content)


class ReadyRefusal:
    """A 503 whose bytes are made once a second, for a request id yet to be put in.

    Attributes:
        route: under which it is counted.
        count: sent, and not yet told to the metrics and the log.
    """

    def __init__(self, route: str, retry_after_seconds: int, most_head: int, most_body: int) -> None:
        self.route, self.count = route, 0
        self._most_head, self._most_body = most_head, most_body
        self.fault = overloaded(retry_after_seconds)
        self._parts: list[bytes] = []

    def renew(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Make the bytes, with these headers of every reply."""
        reply = fault_reply(self.fault, self.route, _PLACE)
        lines = [b"%b: %b\r\n" % one for one in (*headers, *reply.raw_headers, (b"x-request-id", _PLACE.encode()))]
        whole = STATUS_LINE[self.fault.status] + b"".join(lines) + b"\r\n" + bytes(reply.body)
        self._parts = whole.split(_PLACE.encode())

    def fits(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether nothing in a request's headers asks for more than the common refusal."""
        size, length = 0, None
        for name, value in headers:
            size += len(name) + len(value) + 4
            if name in _UNCOMMON:
                return False
            if name == b"content-length":
                length = value
        return length is not None and size <= self._most_head and int(length[:19]) <= self._most_body

    def reply(self) -> bytes:
        """The bytes for one request, counted."""
        self.count += 1
        return secrets.token_hex(16).encode().join(self._parts)

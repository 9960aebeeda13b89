"""What a request is refused with: one exception, and the one shape of every error reply."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from deploy.engine import AnswerFailed, Late, Overloaded, Stopping
from deploy.images import TooManyPixels
from deploy.metrics import Metrics, Rejection
from tasks.decoding import UndecodableImage

V2 = "/v2"
SAFE_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cache-control": "no-store",
}
"""Of every reply that names no others: what is sent is data, and nobody's page."""
_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    411: "length_required",
    413: "too_large",
    415: "unsupported_media_type",
    422: "unprocessable",
    503: "unavailable",
}


class Fault(Exception):
    """A request that cannot be answered.

    Attributes:
        status: of HTTP.
        code: what a program tells faults apart by.
        message: what is wrong and how to mend it, for a person; never a path or a trace of the server.
        reason: what it is counted under, where it is one of those.
        headers: to send with the reply.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        reason: Rejection | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.reason = reason
        self.headers = dict(headers or {})


def internal_fault() -> Fault:
    """Something that is the server's own; its log has the trace under the request's id."""
    return Fault(500, "internal", "the server failed; its log tells more under this request id")


def fault_of(err: Exception, retry_after_seconds: int) -> Fault:
    """What an exception means to a client; what nobody foresaw is an internal fault."""
    if isinstance(err, Fault):
        return err
    if isinstance(err, UndecodableImage):
        return _image_fault(err)
    if isinstance(err, Overloaded):
        return _overload_fault(err, retry_after_seconds)
    if isinstance(err, AnswerFailed):
        return Fault(500, "model_failed", f"{err}; the server's log tells more under this request id")
    if isinstance(err, RequestValidationError):
        return Fault(400, "bad_request", _validation_text(err), "body")
    if isinstance(err, HTTPException):
        return _http_fault(err)
    return internal_fault()


def _image_fault(err: UndecodableImage) -> Fault:
    if err.kind == "format":
        return Fault(415, "format_not_allowed", f"the image cannot be used: {err}", "format")
    if isinstance(err, TooManyPixels):
        return Fault(422, "too_many_pixels", str(err), "pixels")
    if err.kind == "pixels":
        return Fault(422, "too_many_pixels", f"the image cannot be used: {err}; send a smaller one", "pixels")
    if err.kind == "frames":
        return Fault(422, "too_many_frames", f"the image cannot be used: {err}; send one of them", "frames")
    return Fault(422, "undecodable", f"the image cannot be used: {err}", "undecodable")


def _overload_fault(err: Overloaded, retry_after_seconds: int) -> Fault:
    again = {"Retry-After": str(retry_after_seconds)}
    if isinstance(err, Stopping):
        return Fault(503, "stopping", "this server is about to end; ask again, of another one", "overloaded", again)
    if isinstance(err, Late):
        message = f"there was {err}, and the request was given up; ask again, with fewer images where there are many"
        return Fault(503, "late", message, "overloaded", again)
    message = f"more requests wait than this server admits; ask again in {retry_after_seconds} s"
    return Fault(503, "overloaded", message, "overloaded", again)


def _http_fault(err: HTTPException) -> Fault:
    code = _CODES.get(err.status_code, "error")
    message = str(err.detail)
    if err.status_code == 404:
        message = "nothing is served at this path; /openapi.json lists what is"
    elif err.status_code == 405:
        allowed = (err.headers or {}).get("Allow", "")
        message = f"this method is not allowed here; allowed: {allowed}" if allowed else "this method is not allowed"
    return Fault(err.status_code, code, message, headers=err.headers)


def _validation_text(err: RequestValidationError) -> str:
    parts = [f"{'.'.join(str(place) for place in one['loc'])}: {one['msg']}" for one in err.errors()[:5]]
    return f"the request is not as /openapi.json says: {'; '.join(parts)}"


def fault_reply(fault: Fault, path: str, request_id: str) -> Response:
    """The reply: under /v2 the protocol's error object, elsewhere code, message and request id."""
    shown: dict[str, Any] = {"code": fault.code, "message": fault.message, "request_id": request_id}
    under_v2 = path == V2 or path.startswith(f"{V2}/")
    content = json.dumps({"error": fault.message if under_v2 else shown}).encode()
    return Response(content, fault.status, {**SAFE_HEADERS, **fault.headers, "Content-Type": "application/json"})


def fault_handler(
    metrics: Metrics, retry_after_seconds: int
) -> Callable[[Request, Exception], Coroutine[Any, Any, Response]]:
    """What the application calls for an exception of a route: count it, note it for the log, and reply."""

    async def reply(request: Request, err: Exception) -> Response:
        fault = fault_of(err, retry_after_seconds)
        return noted_reply(fault, request.scope, metrics)

    return reply


def noted_reply(fault: Fault, scope: Any, metrics: Metrics) -> Response:
    """Count a fault, leave its code for the request's line in the log, and make the reply."""
    if fault.reason:
        metrics.rejected(fault.reason)
    state = scope.setdefault("state", {})
    state["reason"] = fault.code
    return fault_reply(fault, scope["path"], state.get("request_id", ""))
